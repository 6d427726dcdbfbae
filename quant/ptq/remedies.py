"""Channel-wise migration and filter-wise shifting (arXiv 2405.03882, section III): what each channel is divided by, or loses."""

from collections.abc import Callable

import torch
from torch import Tensor

from quant.networks.layout import Operation
from quant.ptq.observe import Statistics

#: Limits of a migration factor.
FACTOR_LOW, FACTOR_HIGH = 0.1, 64.0
#: Quantile of all values that a factor of 1 stands for.
QUANTILE = 0.99


def migrated_tensors(ops: list[Operation]) -> set[str]:
    """Names of the tensors that migration may divide: hardswish outputs that a strided or plain DWConv alone reads."""
    return _only_read_by(ops, lambda reader: reader.kind == "dw")


def shifted_tensors(ops: list[Operation]) -> set[str]:
    """Names of the tensors that shifting may move: hardswish outputs of a DWConv that a PWConv alone reads."""
    dw = {op.name for op in ops if op.kind == "dw"}
    return {name for name in _only_read_by(ops, lambda reader: reader.kind == "pw") if name in dw}


def _only_read_by(ops: list[Operation], wanted: Callable[[Operation], bool]) -> set[str]:
    readers: dict[str, list[Operation | None]] = {}
    for op in ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
        if op.residual:
            # A residual is added with one factor and one zero point for the layer, so its tensor keeps both.
            readers.setdefault(op.residual, []).append(None)
    return {
        op.name
        for op in ops
        if op.hardswish and len(found := readers.get(op.name, [])) == 1 and found[0] is not None and wanted(found[0])
    }


def migration_factors(statistics: Statistics) -> Tensor:
    """Return each channel's factor ``s_c`` (float64 ``[C]``, 0.1 .. 64): its maximum over a common one; 1 for a dead channel."""
    top = statistics.high.double()
    common = max(
        float(torch.quantile(statistics.samples.flatten()[:: _stride(statistics.samples)].double(), QUANTILE)), float(top.mean())
    )
    factors = (top / max(common, 1e-12)).clamp(FACTOR_LOW, FACTOR_HIGH)
    return torch.where(top > 0, factors, 1.0)


def _stride(samples: Tensor) -> int:
    # torch.quantile sorts at most 16 million values.
    return 1 + samples.numel() // (1 << 22)


def shifts(statistics: Statistics) -> Tensor:
    """Return what each channel loses, the middle of its range (float64 ``[C]``)."""
    return (statistics.high.double() + statistics.low.double()) / 2
