"""Channels with a range each: the steps and zero points of tensors that filter-wise shifting moves.

Where every channel has a zero point of its own (integer contract, section 2), each can fill the 256 codes with its own range. The
weights of the layers behind take up the steps, and lose by it: in a row of weights, whose scale is the largest one's, small steps
are small weights. So a channel's step may grow beyond its range's 256th, as long as no row's largest weight does.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from quant.contract import ACT_BITS, WEIGHT_BITS, ZERO_BITS
from quant.ptq.encoding import Encoding, stepped
from quant.ptq.graph import FloatLayer
from quant.ptq.observe import Statistics

_CODES = (1 << ACT_BITS) - 1
_LOW = -(1 << (ACT_BITS - 1))
_WEIGHT_MAX = (1 << (WEIGHT_BITS - 1)) - 1
_ZERO_MAX = (1 << (ZERO_BITS - 1)) - 1
#: A value's distance from 0 in steps, at most: a code and the zero point between them.
_REACH = _ZERO_MAX + _LOW
#: No step is smaller than the largest one by more than this: hardswish's constants are in steps, too, and have 14 bits.
_SPREAD = 1 << 12


def own_ranges(statistics: Statistics, readers: Iterable[FloatLayer]) -> Encoding:
    """Encode each channel with its own range, for the 1x1 convolutions that read it."""
    low, high = statistics.low.double(), statistics.high.double()
    # A channel that is far from 0 and all but constant would need a zero point out of range.
    least = torch.maximum((high - low) / _CODES, torch.maximum(low.abs(), high.abs()) / _REACH)
    # Of a tensor without any value but 0 nothing is known: a range of about 1 suits the layers around it.
    least = least.clamp(min=float(least.max()) / _SPREAD) if bool(least.any()) else torch.full_like(least, 1 / _CODES)
    steps = _balanced(least, statistics, readers)
    # A channel that needs all codes begins at the lowest one, for hardswish's outputs crowd there; any other is centred.
    zeros = torch.where(_fills(low, high, steps), _LOW - low / steps, -(low + high) / 2 / steps)
    return replace(stepped(steps), zeros=zeros.round().clamp(-_ZERO_MAX, _ZERO_MAX), remedy="shifting")


def _fills(low: Tensor, high: Tensor, steps: Tensor) -> Tensor:
    """Whether a channel needs all of its codes."""
    return (high - low) / steps > _CODES - 1


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
