"""Weights as integers: rounded here, or learned by :mod:`quant.reconstruct`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from quant.artifact_rules import ACC_LIMIT
from quant.contract import WEIGHT_BITS
from quant.ptq.compensate import compensated
from quant.ptq.encoding import Encoding
from quant.ptq.graph import FloatLayer
from quant.ptq.moments import Moments
from quant.ptq.options import Options
from quant.ptq.ranges import weight_scales

_TOP = (1 << (WEIGHT_BITS - 1)) - 1


@dataclass(frozen=True)
class Rounded:
    """A layer's weights: ``weight`` times ``scales`` stands for the float weights times the input's factors.

    ``weight`` holds integers in [-127, 127] and has the float weight's shape, ``scales`` (one an output channel) and ``bias``
    (real) are ``[O]``; all float64.
    """

    weight: Tensor
    scales: Tensor
    bias: Tensor


def per_input(values: Tensor, layer: FloatLayer) -> Tensor:
    """Spread one value an input channel over the weight's axes, groups minded (float64, broadcasts with the weight)."""
    op, rank = layer.op, layer.weight.ndim
    by_group = values.double().reshape(op.groups, -1).repeat_interleave(op.c_out // op.groups, 0)
    return by_group.reshape(op.c_out, -1, *[1] * (rank - 2))


def by_output(values: Tensor, weight: Tensor) -> Tensor:
    """Shape one value an output channel so that it broadcasts with the weight."""
    return values.reshape(-1, *[1] * (weight.ndim - 1))


def effective(layer: FloatLayer, source: Encoding) -> Tensor:
    """Return the float weights times the input's factors (float64, the weight's shape)."""
    return layer.weight.double() * per_input(source.factors, layer)


def rounded(
    layer: FloatLayer,
    source: Encoding,
    mean: Tensor | None,
    moments: Moments | None,
    options: Options,
    *,
    beside: Tensor | float = 0.0,
) -> Rounded:
    """Round to integers, with the scales that ``options.weights`` asks for.

    With the ``moments`` of the layer's inputs errors make up for one another (:mod:`quant.ptq.compensate`); without, each weight
    is rounded to the nearest. ``mean`` is the input's (``[C]``); what the weights' rounding does to it goes into the bias. None
    leaves the bias as it is. ``beside`` is what else the bias will have to hold (real, not negative, ``[O]``).
    """
    wanted = effective(layer, source)
    scales = weight_scales(wanted.flatten(1), options.weights)
    # A channel that is all but constant has tiny weights beside its bias: a coarser scale keeps the bias small enough.
    scales = torch.maximum(scales, (layer.bias.double().abs() + beside) / (source.scale * (ACC_LIMIT >> 3)))
    if moments is None:
        weight = (wanted / by_output(scales, wanted)).round().clamp(-_TOP, _TOP)
    else:
        by_group = wanted.reshape(layer.op.groups, -1, wanted[0].numel())
        factors = per_input(source.factors, layer).expand_as(wanted).reshape(by_group.shape)[:, 0]
        products = moments.product if mean is None else moments.covariance
        weight = compensated(
            by_group,
            scales.reshape(len(by_group), -1),
            products / (factors[:, :, None] * factors[:, None]),
            moments.count,
            _TOP,
        ).reshape(wanted.shape)
    return corrected(layer, source, weight, scales, mean)


def corrected(layer: FloatLayer, source: Encoding, weight: Tensor, scales: Tensor, mean: Tensor | None) -> Rounded:
    """Put what the rounding of ``weight`` does to the input's ``mean`` (``[C]``, or None) into the bias."""
    bias = layer.bias.double()
    if mean is not None:
        error = effective(layer, source) - weight * by_output(scales, weight)
        bias = bias + (error * per_input(mean / source.factors, layer)).flatten(1).sum(1)
    return Rounded(weight, scales, bias)
