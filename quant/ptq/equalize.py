"""Factors of attention's channels: linear attention takes them up as far as its ratios allow (integer contract, section 7).

Other tensors' channels have ranges of their own: see :mod:`quant.ptq.own_ranges`.
"""

import torch
from torch import Tensor

from quant.networks.layout import Operation
from quant.ptq.attention_search import search
from quant.ptq.observe import Observations, Statistics


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


def attention_outputs(ops: list[Operation], seen: Observations, steps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the factors (float64 ``[C]``) of attentions' outputs, by name.

    ``steps`` are those of attentions' inputs.
    """
    factors: dict[str, Tensor] = {}
    for op in ops:
        if op.kind == "attention":
            values = torch.cat([steps[name].reshape(-1, 3, op.dim)[:, 2].flatten() for name in op.inputs])
            factors[op.name] = attention_factors(values, seen.statistics[op.name], op.dim)
    return factors


def attention_factors(value_factors: Tensor, output: Statistics, dim: int) -> Tensor:
    """Return one factor a channel (float64 ``[d*H]``) of attention's output: the values' own, but for a number a head.

    ``value_factors`` are those of V, ``[d*H]``.
    """
    tops = torch.maximum(output.high, -output.low).double().reshape(-1, dim)
    values = value_factors.reshape(-1, dim)
    return _centred((values * _alive((tops / values).amax(1, keepdim=True))).flatten())


def _alive(tops: Tensor) -> Tensor:
    """Replace zeros by the geometric mean of the others, or by 1 where all are zero."""
    alive = tops > 0
    mean = tops[alive].log().mean().exp() if bool(alive.any()) else torch.ones((), dtype=tops.dtype)
    return torch.where(alive, tops, mean)


def _centred(values: Tensor) -> Tensor:
    """Scale positive values to a geometric mean of 1, which leaves their ratios as they are."""
    return values / values.log().mean().exp()
