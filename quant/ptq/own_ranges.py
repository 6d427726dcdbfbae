"""Channels with a range each: the steps and zero points of every tensor whose readers take both up for nothing.

Convolutions take a channel's step into their weights and its zero point into their bias, depthwise ones pad with it; pooling,
upsampling and residuals have a multiplier a channel (integer contract, sections 2 and 4). So each channel can fill the 256 codes
with its own range. The weights of the layers behind lose by small steps: in a row of weights, whose scale is the largest one's,
small steps are small weights. So a channel's step may grow beyond its range's 256th, as long as no row's largest weight does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from quant.contract import ACT_BITS, WEIGHT_BITS, ZERO_BITS
from quant.networks.layout import Operation
from quant.ptq.encoding import Encoding, stepped
from quant.ptq.graph import FloatLayer
from quant.ptq.observe import Observations, Statistics

_CODES = (1 << ACT_BITS) - 1
_LOW = -(1 << (ACT_BITS - 1))
_WEIGHT_MAX = (1 << (WEIGHT_BITS - 1)) - 1
_ZERO_MAX = (1 << (ZERO_BITS - 1)) - 1
#: A value's distance from 0 in steps, at most: a code and the zero point between them.
_REACH = _ZERO_MAX + _LOW
#: No step is smaller than the largest one by more than this: hardswish's constants are in steps, too, and have 14 bits.
_SPREAD = 1 << 12
#: Kinds of layers that take up their inputs' steps and zero points, and those of them whose weights lose by it.
_READERS, _WEIGHING = {"dw", "pw", "fc", "pool", "upsample"}, {"pw", "fc"}


@dataclass(frozen=True)
class Range:
    """What a tensor's codes cover, float64 ``[C]``: from ``low`` to ``high``; a part of it is around ``kept``.

    0 is always in the range of a tensor that is ``padded``: what surrounds it needs a code.
    """

    low: Tensor
    high: Tensor
    kept: Tensor
    padded: bool = False

    @classmethod
    def of(cls, op: Operation, statistics: Statistics, *, padded: bool) -> "Range":
        """All that was seen of an operation's output.

        Hardswish's outputs crowd at the lower end, so that stays in every part; others crowd around their mean.
        """
        low, high = statistics.low.double(), statistics.high.double()
        return cls(low, high, low if op.hardswish else statistics.mean.double(), padded).part(1.0)

    def part(self, share: Tensor | float) -> "Range":
        """A ``share`` of it, one or one a channel."""
        low, high = (self.kept + share * (end - self.kept) for end in (self.low, self.high))
        return replace(self, low=low.clamp(max=0), high=high.clamp(min=0)) if self.padded else replace(self, low=low, high=high)

    def steps(self) -> Tensor:
        """The smallest steps with which all of it has codes."""
        # A channel that is far from 0 and all but constant would need a zero point out of range.
        least = torch.maximum((self.high - self.low) / _CODES, torch.maximum(self.low.abs(), self.high.abs()) / _REACH)
        # Of a tensor without any value but 0 nothing is known: a range of about 1 suits the layers around it.
        return least.clamp(min=float(least.max()) / _SPREAD) if bool(least.any()) else torch.full_like(least, 1 / _CODES)

    def zeros(self, steps: Tensor) -> Tensor:
        """Zero points for steps that are not smaller than those."""
        # A channel that needs all codes begins at the lowest one, for hardswish's outputs crowd there; any other is centred.
        filled = (self.high - self.low) / steps > _CODES - 1
        zeros = torch.where(filled, _LOW - self.low / steps, -(self.low + self.high) / 2 / steps)
        return zeros.round().clamp(-_ZERO_MAX, _ZERO_MAX)


def free_ranges(ops: list[Operation], seen: Observations) -> dict[str, Range]:
    """The ranges of all tensors whose channels need not share anything, by name; attention's and LayerNorm's do."""
    readers: dict[str, set[str]] = {}
    for op in ops:
        for name in op.inputs:
            readers.setdefault(name, set()).add(op.kind)
    return {
        op.name: Range.of(op, seen.statistics[op.name], padded="dw" in readers[op.name])
        for op in ops
        if op.kind != "attention" and readers.get(op.name, {"logits"}) <= _READERS
    }


def own_ranges(found: Range, statistics: Statistics, readers: Iterable[FloatLayer], remedy: str) -> Encoding:
    """Encode each channel with its own range, for the layers that read it."""
    weighing = [layer for layer in readers if layer.op.kind in _WEIGHING]
    least = found.steps()
    steps = _balanced(least, statistics, weighing) if weighing else least
    return replace(stepped(steps), zeros=found.zeros(steps), remedy=remedy, padded=found.padded)


def _balanced(least: Tensor, statistics: Statistics, readers: Iterable[FloatLayer]) -> Tensor:
    """Steps not below ``least`` (float64 ``[C]``) with the least noise of activations and weights together, in the readers' sums.

    A step ``s`` gives a noise of ``s^2 sum w^2 / 12`` by the activations and ``var / s^2 sum d^2 / 12`` by the weights, ``d``
    being the steps of the rows of weights; a mean does no harm, since biases are corrected for it.
    """
    variance = statistics.samples.double().var(0, correction=0)
    activations, weights = torch.zeros_like(least), torch.zeros_like(least)
    most = torch.full_like(least, float("inf"))
    for layer in readers:
        matrix = _by_input(layer)
        tops = (matrix.abs() * least).amax(1, keepdim=True)
        used = matrix != 0
        activations = activations + matrix.square().sum(0)
        weights = weights + ((tops / _WEIGHT_MAX).square() * used).sum(0) * variance
        most = torch.minimum(most, torch.where(used, tops / matrix.abs().clamp(min=1e-30), float("inf")).amin(0))
    wanted = (weights / activations.clamp(min=1e-30)).pow(0.25)
    return torch.maximum(torch.minimum(wanted, most.clamp(max=float(least.max()))), least)


def _by_input(layer: FloatLayer) -> Tensor:
    """A 1x1 convolution's weights as one matrix (float64 ``[O, C]``), 0 where groups keep channels apart."""
    weight, groups = layer.weight.double().flatten(1), layer.op.groups
    return torch.block_diag(*weight.reshape(groups, -1, weight.shape[1])) if groups > 1 else weight
