"""The steps of attention's queries, keys and values: for each head those with the least error of its output.

Only the products of q's and k's steps count (integer contract, section 7), so that within a head three numbers are open: how
much of the unevenness of the sums of keys the keys take (the rest is left to the queries), and how much of their ranges queries
and keys cover. A pixel with small queries has a small divisor, and then every bit of q and of the sums counts; clipping a few
large values buys these bits.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from quant.contract import SUM_BITS
from quant.networks.layout import Operation
from quant.networks.model import linear_attention

#: Shares of the unevenness that the keys take.
BALANCES = (0.25, 0.4, 0.5, 0.6, 0.75, 1.0)
#: Parts of the ranges of queries and keys that are tried, the whole first; it stays where a convolution reads them, too, to which
#: their large negative values matter.
QUERY_PARTS, KEY_PARTS = (1.0, 0.6, 0.35, 0.2, 0.1, 0.05), (1.0, 0.6, 0.35)
#: By how much a later trial must be better: other pictures have larger values, and saturation costs more than rounding.
_GAIN = 0.1
_TOP = 127


@dataclass(frozen=True)
class Head:
    """Heads' relu(q), relu(k) and v, float64 ``[N, heads, d, P]``, and whether negative ones are read as well, ``[heads]``."""

    q: Tensor
    k: Tensor
    v: Tensor
    signed: Tensor
    #: Largest magnitudes ``[heads, d]``, of q and k the negative ones included where they count.
    q_top: Tensor
    k_top: Tensor

    def of(self, chosen: Tensor) -> "Head":
        """Some of the heads."""
        return Head(
            self.q[:, chosen], self.k[:, chosen], self.v[:, chosen], self.signed[chosen], self.q_top[chosen], self.k_top[chosen]
        )


def search(op: Operation, qkv: list[Tensor], signed: list[bool], z_bits: int, eps: float) -> list[Tensor]:
    """Return one step a channel (float64 ``[3*d*H]``) for each of an attention's inputs (float ``[N, 3*d*H, h, w]``).

    ``signed`` tells of which inputs a depthwise convolution reads the negative queries and keys as well, ``z_bits`` is the width
    of K^T V and ``eps`` what the float network adds to the divisors.
    """
    heads = _heads(op.dim, qkv, signed)
    exact = torch.cat([linear_attention(x.double(), op.dim, eps).reshape(len(x), -1, *heads.q.shape[2:]) for x in qkv], 1)
    value_step = _alive(heads.v.abs().amax((0, 3))) / _TOP
    best = torch.full((heads.q.shape[1],), float("inf"), dtype=torch.float64)
    steps = torch.ones(len(best), 3, op.dim, dtype=torch.float64)
    everyone, free = torch.arange(len(best)), (~heads.signed).nonzero()[:, 0]
    some = heads.of(free)
    for balance, query, key in product(BALANCES, QUERY_PARTS, KEY_PARTS):
        chosen, part = (everyone, heads) if query == key == 1.0 else (free, some)
        tried = torch.stack([*_pair(part, balance, query, key), value_step[chosen]], 1)
        error = (_simulate(part, tried, z_bits) - exact[:, chosen]).square().sum((0, 2, 3))
        better = error < (1 - _GAIN) * best[chosen]
        best[chosen] = torch.where(better, error, best[chosen])
        steps[chosen] = torch.where(better[:, None, None], tried, steps[chosen])
    return list(steps.reshape(-1).split([x.shape[1] for x in qkv]))


def _heads(dim: int, qkv: list[Tensor], signed: list[bool]) -> Head:
    parts = torch.cat([x.double().reshape(x.shape[0], -1, 3, dim, x.shape[2] * x.shape[3]) for x in qkv], 1)
    counts = torch.tensor([flag for x, flag in zip(qkv, signed, strict=True) for _ in range(x.shape[1] // (3 * dim))])
    q, k, v = parts.unbind(2)
    whole = parts[:, :, :2].abs().amax((0, 4))
    positive = parts[:, :, :2].clamp(min=0).amax((0, 4))
    tops = torch.where(counts[:, None, None], whole, positive)
    return Head(q.clamp(min=0), k.clamp(min=0), v, counts, tops[:, 0], tops[:, 1])


def _pair(heads: Head, balance: float, query_part: float, key_part: float) -> tuple[Tensor, Tensor]:
    """Steps of q and k, ``[heads, d]`` each; their product is one number a head."""
    sums, query = heads.k.sum(3).amax(0), heads.q.amax((0, 3))
    even = _alive(torch.where((sums > 0) & (query > 0), sums.pow(balance) / query.clamp(min=1e-30).pow(1 - balance), 0.0))
    q_step = _alive((heads.q_top * even).amax(1, keepdim=True)) * query_part / even / _TOP
    return q_step, _alive((heads.k_top / even).amax(1, keepdim=True)) * key_part * even / _TOP


def _simulate(heads: Head, steps: Tensor, z_bits: int) -> Tensor:
    """The heads' outputs ``[N, heads, d, P]`` with rounded inputs and sums; the division is exact."""
    q, k, v = (
        (x / step[:, :, None]).round().clamp(-_TOP - 1, _TOP)
        for x, step in zip((heads.q, heads.k, heads.v), steps.unbind(1), strict=True)
    )
    matrix, sums = _rounded(k @ v.transpose(2, 3), z_bits), _rounded(k.sum(3), SUM_BITS)
    divisor = (sums[:, :, None] @ q).clamp(min=0)
    quotient = torch.where(divisor > 0, (matrix.transpose(2, 3) @ q) / divisor.clamp(min=1e-30), 0.0)
    return quotient * steps[:, 2, :, None]


def _rounded(sums: Tensor, bits: int) -> Tensor:
    """Sums ``[N, heads, ...]`` rounded to so many signed bits, the same steps for all of a head."""
    steps = (1 << (bits - 1)) - 1
    top = sums.abs().amax([axis for axis in range(sums.ndim) if axis != 1], keepdim=True).clamp(min=1)
    return (sums * (steps / top)).round() * (top / steps)


def _alive(tops: Tensor) -> Tensor:
    """Replace zeros by the geometric mean of the others, or by 1 where all are zero."""
    alive = tops > 0
    mean = tops[alive].log().mean().exp() if bool(alive.any()) else torch.ones((), dtype=tops.dtype)
    return torch.where(alive, tops, mean)
