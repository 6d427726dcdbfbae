"""Equalization: factors of channels that cost the hardware nothing, beyond those of the paper's channel-wise migration.

A tensor may have one factor a channel (integer contract, section 2) wherever every reader can take it up: convolutions take it
into their weights, pooling and residuals into their multipliers, and linear attention as far as its ratios allow (section 7).
"""

import torch
from torch import Tensor

from quant.networks.layout import Operation
from quant.ptq.attention_search import search
from quant.ptq.observe import Observations, Statistics

#: How much of a channel's range its factor takes away where a reader sums over channels; what remains is left to its weights.
DENSE_SHARE = 0.75
#: Limit of a factor, either way, relative to the others.
LIMIT = 1024.0
_CODES = 256


def attention_steps(ops: list[Operation], seen: Observations, z_bits: int) -> dict[str, Tensor]:
    """Return the steps of attentions' inputs (float64 ``[3*d*H]``), by name; see :mod:`quant.ptq.attention_search`."""
    convolved = {name for op in ops if op.kind == "dw" for name in op.inputs}
    steps: dict[str, Tensor] = {}
    for op in ops:
        if op.kind == "attention":
            qkv = [seen.attention[name] for name in op.inputs]
            found = search(op, qkv, [name in convolved for name in op.inputs], z_bits, seen.attention_eps)
            steps |= zip(op.inputs, found, strict=True)
    return steps


def equalized(ops: list[Operation], seen: Observations, steps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the factors (float64 ``[C]``) of every tensor that can have some, by name.

    ``steps`` are the steps that attentions' inputs have already.
    """
    factors: dict[str, Tensor] = {}
    readers: dict[str, set[str]] = {}
    for op in ops:
        for name in op.inputs:
            readers.setdefault(name, set()).add(op.kind)
    for op in ops:
        statistics, kinds = seen.statistics[op.name], readers.get(op.name, {"output"})
        if op.kind == "attention":
            values = torch.cat([steps[name].reshape(-1, 3, op.dim)[:, 2].flatten() for name in op.inputs])
            factors[op.name] = attention_factors(values, statistics, op.dim)
        elif op.name in steps:
            continue
        elif kinds <= {"dw", "pool"}:
            factors[op.name] = range_factors(statistics)
        elif kinds <= {"dw", "pool", "pw", "upsample"}:
            factors[op.name] = range_factors(statistics).pow(DENSE_SHARE)
    return factors


def range_factors(statistics: Statistics) -> Tensor:
    """Return factors (float64 ``[C]``) with which every channel fills the codes on one side of a zero point.

    The zero point is the one with the least rounding noise in relation to the channels' own variance.
    """
    low, high = statistics.low.double().clamp(max=0), statistics.high.double().clamp(min=0)
    zeros = torch.arange(1, _CODES - 1, dtype=torch.float64)[:, None]
    steps = torch.maximum(high / (_CODES - 1 - zeros), -low / zeros)
    variance = statistics.samples.double().var(0, correction=0)
    noise = torch.where(variance > 0, steps.square() / variance.clamp(min=1e-30), 0.0).sum(1)
    return _balanced(steps[noise.argmin()])


def attention_factors(value_factors: Tensor, output: Statistics, dim: int) -> Tensor:
    """Return one factor a channel (float64 ``[d*H]``) of attention's output: the values' own, but for a number a head.

    ``value_factors`` are those of V, ``[d*H]``.
    """
    tops = torch.maximum(output.high, -output.low).double().reshape(-1, dim)
    values = value_factors.reshape(-1, dim)
    return _centred((values * _alive((tops / values).amax(1, keepdim=True))).flatten())


def _balanced(tops: Tensor) -> Tensor:
    """Scale positive values ``[C]`` to a geometric mean of 1; what is 0 becomes 1, what is far away is limited."""
    return _centred(_alive(tops)).clamp(1 / LIMIT, LIMIT)


def _alive(tops: Tensor) -> Tensor:
    """Replace zeros by the geometric mean of the others, or by 1 where all are zero."""
    alive = tops > 0
    mean = tops[alive].log().mean().exp() if bool(alive.any()) else torch.ones((), dtype=tops.dtype)
    return torch.where(alive, tops, mean)


def _centred(values: Tensor) -> Tensor:
    """Scale positive values to a geometric mean of 1, which leaves their ratios as they are."""
    return values / values.log().mean().exp()
