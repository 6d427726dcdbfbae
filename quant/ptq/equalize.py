"""Equalization: factors of channels that cost the hardware nothing, beyond those of the paper's channel-wise migration.

A tensor may have one factor a channel (integer contract, section 2) wherever every reader can take it up: convolutions take it
into their weights, pooling into its multipliers. A residual can take it if the tensors of its sums have the same factors, and
linear attention as far as its ratios allow (section 7).
"""

import torch
from torch import Tensor

from quant.networks.layout import Operation
from quant.ptq.observe import Observations, Statistics

#: How much of a channel's range its factor takes away on the trunk; what remains is left to the readers' weights.
TRUNK_SHARE = 0.75
#: Limit of a factor, either way, relative to the others.
LIMIT = 1024.0


def equalized(ops: list[Operation], seen: Observations) -> dict[str, Tensor]:
    """Return the factors (float64 ``[C]``) of every tensor that is to have some, by name, whatever migration and shifting do."""
    factors: dict[str, Tensor] = {}
    for group in trunks(ops):
        factors |= dict.fromkeys(group, trunk_factors([seen.statistics[name] for name in group]))
    for op in ops:
        if op.kind == "pool":
            factors[op.inputs[0]] = pooled_factors(seen.statistics[op.inputs[0]])
        elif op.kind == "attention":
            also_convolved = {name for other in ops if other.kind == "dw" for name in other.inputs}
            values = []
            for name in op.inputs:
                factors[name] = qkv_factors(seen.attention[name], op.dim, signed=name in also_convolved)
                values.append(factors[name].reshape(-1, 3, op.dim)[:, 2].flatten())
            statistics = seen.statistics[op.name]
            tops = torch.maximum(statistics.high, -statistics.low)
            factors[op.name] = attention_factors(torch.cat(values), tops, op.dim)
    return factors


def trunks(ops: list[Operation]) -> list[list[str]]:
    """Return the groups of tensors that residuals tie together, each in execution order."""
    groups: list[list[str]] = []
    for op in ops:
        if op.residual:
            group = next((group for group in groups if op.residual in group), None)
            if group is None:
                groups.append(group := [op.residual])
            group.append(op.name)
    return groups


def trunk_factors(statistics: list[Statistics]) -> Tensor:
    """Return one factor a channel (float64 ``[C]``) for the tensors of a trunk, by the largest magnitude of any there."""
    tops = torch.stack([torch.maximum(s.high, -s.low) for s in statistics]).amax(0).double()
    return _balanced(tops).pow(TRUNK_SHARE)


def pooled_factors(statistics: Statistics) -> Tensor:
    """Return one factor a channel (float64 ``[C]``) for what pooling reads: the channel's largest magnitude."""
    return _balanced(torch.maximum(statistics.high, -statistics.low).double())


def qkv_factors(qkv: Tensor, dim: int, *, signed: bool) -> Tensor:
    """Return one factor a channel (float64 ``[3*d*H]``) for an attention's input (float ``[N, 3*d*H, h, w]``).

    What ``k_i`` is divided by, ``q_i`` is multiplied by, so that the sums of every ``k_i`` and every ``q_i`` share the loss of
    precision; each ``v_j`` has a factor of its own. ``signed``: negative queries and keys matter, too, because a depthwise
    convolution reads them.
    """
    heads = qkv.double().reshape(qkv.shape[0], -1, 3, dim, qkv.shape[2] * qkv.shape[3])
    tops = heads.abs().amax((0, 4))
    positive = heads[:, :, :2].clamp(min=0)
    if not signed:
        tops[:, :2] = positive.amax((0, 4))
    sums = positive[:, :, 1].sum(-1).amax(0)
    query = positive[:, :, 0].amax((0, 3))
    balance = torch.where((sums > 0) & (query > 0), (sums / query.clamp(min=1e-30)).sqrt(), 0.0)
    balance = torch.stack([_balanced(head) for head in balance])
    query_top, key_top = (_alive(values.amax(1, keepdim=True)) for values in (tops[:, 0] * balance, tops[:, 1] / balance))
    return _centred(torch.stack([query_top / balance, key_top * balance, _alive(tops[:, 2])], 1).flatten())


def attention_factors(value_factors: Tensor, output_tops: Tensor, dim: int) -> Tensor:
    """Return one factor a channel (float64 ``[d*H]``) of attention's output: the values' own, but for a number a head.

    ``value_factors`` are those of V, ``output_tops`` the output's largest magnitudes, both ``[d*H]``.
    """
    values, tops = value_factors.reshape(-1, dim), output_tops.double().reshape(-1, dim)
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
