"""From float layers and encodings to the layers of an artifact."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant.artifact_rules import ACC_LIMIT
from quant.contract import GAMMA_BITS, OUT_SHIFT_MAX, PRE_BITS, THREE_BITS
from quant.layer import Layer, Post, Residual
from quant.networks.layout import Operation
from quant.networks.spec import NetworkSpec
from quant.ptq.encoding import Encoding
from quant.ptq.fixed_point import fixed_point
from quant.ptq.graph import FloatLayer
from quant.ptq.observe import Observations
from quant.ptq.options import Options
from quant.ptq.rounding import Rounded, corrected, per_input, rounded
from quant.upsampling import COEFFICIENT_BITS
from triovit.errors import UserError

_T_MAX, _THREE_MAX = (1 << (PRE_BITS - 1)) - 1, (1 << THREE_BITS) - 1
_GAMMA_MAX = (1 << (GAMMA_BITS - 1)) - 1
#: Room for logits and residual branches that exceed what calibration saw.
_HEADROOM = 1.5
#: Fractional bits of LayerNorm's ``n``.
_NORM_BITS = 9


@dataclass
class _Sums:
    """A layer's accumulators: ``real = unit[o] * (acc + bias[o])``."""

    unit: Tensor
    bias: Tensor
    arrays: dict[str, npt.NDArray[np.int32] | npt.NDArray[np.int8]]


def image_encoding(spec: NetworkSpec) -> Encoding:
    """Return how the raw picture minus 128 stands for the normalised one; its zero points need not be whole."""
    mean, std = torch.tensor(spec.mean, dtype=torch.float64), torch.tensor(spec.std, dtype=torch.float64)
    return Encoding(1.0, 1 / (255 * std), 255 * mean - 128)


class Exporter:
    """Turns float layers into integer layers, one after the other."""

    def __init__(
        self,
        encodings: dict[str, Encoding],
        seen: Observations,
        options: Options,
        learned: Mapping[str, Rounded] | None = None,
    ):
        """``learned`` has the weights of layers, by name, that are not rounded here."""
        self.encodings, self.seen, self.options, self.learned = encodings, seen, options, learned or {}

    def layer(self, layer: FloatLayer, *, logits: bool) -> Layer:
        """Return the integer layer of any kind but attention.

        Raises
        ------
        UserError
            A bound of the contract cannot be kept; names the layer.
        """
        op, source = layer.op, self.encodings[layer.op.inputs[0]]
        if op.kind == "layernorm":
            sums = self._norm(layer)
        elif op.kind == "pool":
            sums = self._pool(layer, source)
        elif op.kind == "upsample":
            sums = self._upsample(source)
        else:
            sums = self._weights(layer, source)
        if op.residual:
            self._align(layer)
        target = self.encodings[op.name]
        post, step, three, zeros = self._steps(layer, target, logits)
        if op.residual:
            sums.bias = sums.bias - three * self._left(op) * step / sums.unit
        mult, shift = fixed_point((sums.unit / step).numpy(), op.name)
        bias = self._bias(sums, op.name)
        arrays = {**sums.arrays, "bias": bias, "mult": mult, "shift": shift, "three": _int32(three), "zero": _int32(zeros)}
        scale = float(step[0]) if logits else target.scale
        return Layer(op.name, op.kind, op.inputs, op.output_shape, scale, self._attributes(layer, logits), post, arrays)

    @staticmethod
    def _attributes(layer: FloatLayer, logits: bool) -> dict[str, int | bool]:
        op = layer.op
        by_kind: dict[str, dict[str, int | bool]] = {
            "conv": {"kernel": op.kernel, "stride": op.stride},
            "dw": {"kernel": op.kernel, "stride": op.stride},
            "pw": {"groups": op.groups, **({"logits": True} if logits else {})},
            "upsample": {"factor": op.size_out[0] // op.size_in[0]},
            "fc": {"logits": logits},
        }
        return by_kind.get(op.kind, {})

    def _weights(self, layer: FloatLayer, source: Encoding) -> _Sums:
        """Weights of convolutions and fully connected layers, the input's factors multiplied in."""
        op = layer.op
        found = self.learned.get(op.name) or self.rounded(layer)
        unit = source.scale * found.scales
        zeros = (found.weight * per_input(source.zeros, layer)).flatten(1).sum(1)
        shape = {"conv": layer.weight.shape, "dw": (op.c_out, op.kernel, op.kernel)}.get(op.kind, layer.weight.shape[:2])
        arrays: dict[str, npt.NDArray[np.int32] | npt.NDArray[np.int8]] = {
            "weight": found.weight.reshape(shape).numpy().astype(np.int8)
        }
        if op.kind in ("conv", "dw"):
            arrays["pad"] = _int32(source.zeros.round())
        return _Sums(unit, found.bias / unit - zeros, arrays)

    def rounded(self, layer: FloatLayer) -> Rounded:
        """Return the weights of a convolution or a fully connected layer, rounded as the options ask for."""
        moments = self.seen.moments[layer.op.name] if self.options.compensation else None
        op, beside = layer.op, torch.zeros(())
        if op.residual:
            residual = self.encodings[op.residual]
            beside = (residual.scale * residual.factors * self._left(op)).abs()
        return rounded(layer, self.encodings[op.inputs[0]], self._mean(layer), moments, self.options, beside=beside)

    def corrected(self, layer: FloatLayer, found: Rounded) -> Rounded:
        """Return these weights with the layer's bias, corrected for them where the options ask for it."""
        return corrected(layer, self.encodings[layer.op.inputs[0]], found.weight, found.scales, self._mean(layer))

    def _mean(self, layer: FloatLayer) -> Tensor | None:
        """The input's mean, where the bias is to be corrected with it."""
        source = layer.op.inputs[0]
        known = self.options.bias_correction and source in self.seen.statistics
        return self.seen.statistics[source].mean if known else None

    @staticmethod
    def _pool(layer: FloatLayer, source: Encoding) -> _Sums:
        pixels = layer.op.size_in[0] * layer.op.size_in[1]
        return _Sums(source.factors * source.scale / pixels, -pixels * source.zeros, {})

    @staticmethod
    def _upsample(source: Encoding) -> _Sums:
        one = 1 << 2 * COEFFICIENT_BITS
        return _Sums(source.factors * source.scale / one, -one * source.zeros, {})

    @staticmethod
    def _norm(layer: FloatLayer) -> _Sums:
        gamma = layer.weight.double()
        factor = max(float(gamma.abs().max()), float(layer.bias.abs().max()) / (1 << 10), 1e-12) / _GAMMA_MAX
        unit = torch.full_like(gamma, factor / (1 << _NORM_BITS))
        return _Sums(unit, layer.bias.double() / unit, {"gamma": _int32((gamma / factor).round())})

    def _bias(self, sums: _Sums, name: str) -> npt.NDArray[np.int32]:
        bias = sums.bias.round()
        if float(bias.abs().max()) >= ACC_LIMIT:
            raise UserError(
                f"layer {name}: the bias of channel {int(bias.abs().argmax())} does not fit the accumulator (2^26); "
                "calibrate with more pictures, or train with weight decay"
            )
        return _int32(bias)

    def _steps(self, layer: FloatLayer, target: Encoding, logits: bool) -> tuple[Post, Tensor, Tensor, Tensor]:
        """Both steps of post-processing: the post, then one an output channel ``t``'s real step, ``three`` and ``zero``."""
        op, steps = layer.op, target.scale * target.factors
        none = torch.zeros_like(steps)
        if logits:
            top = max(float(self.seen.statistics[op.name].branch.max()), 1e-6)
            return Post(), torch.full_like(steps, top * _HEADROOM / _T_MAX), none, none
        if op.hardswish:
            out_shift = self._hardswish_shift(op.name, target, steps)
            delta = (6 * steps * 2.0**-out_shift).sqrt()
            return Post("hardswish", out_shift), delta, (3 / delta).round(), target.zeros
        if not op.residual:
            # Without a second function a second shift would only round twice.
            return Post(), steps, none, target.zeros
        source, out_shift = self.encodings[op.residual], self._residual_shift(op, target)
        three = (self._ratio(op, target) * 2.0**out_shift).round()
        return Post("none", out_shift, Residual(op.residual, source.zero)), steps * 2.0**-out_shift, three, target.zeros

    def _ratio(self, op: Operation, target: Encoding) -> Tensor:
        """One step of the residual in steps of the sum, float64 ``[C]``."""
        source = self.encodings[op.residual]
        return source.scale * source.factors / (target.scale * target.factors)

    def _left(self, op: Operation) -> Tensor:
        """What the second step, which has one for all channels, does not take off of the residual's zero points."""
        source = self.encodings[op.residual]
        return source.zeros - source.zero

    def _align(self, layer: FloatLayer) -> None:
        """Widen the output's steps a little: the residual's factors become whole and nothing is lost on the trunk."""
        op, target = layer.op, self.encodings[layer.op.name]
        exact = self._ratio(op, target) * 2.0 ** self._residual_shift(op, target)
        whole = exact.floor()
        wider = torch.where(whole > 0, exact / whole.clamp(min=1), 1.0)
        self.encodings[op.name] = replace(target, factors=target.factors * wider)

    def _residual_shift(self, op: Operation, target: Encoding) -> int:
        """The largest second shift with which the residual's factors and the branch fit."""
        ratios, branches = (
            self._ratio(op, target),
            self.seen.statistics[op.name].branch.double() / (target.scale * target.factors),
        )
        ratio, branch = float(ratios.max()), float((branches * _HEADROOM + ratios * self._left(op).abs()).max())
        out_shift = min(
            int(np.floor(np.log2(_THREE_MAX / ratio))), int(np.floor(np.log2(_T_MAX / max(branch, 1.0)))), OUT_SHIFT_MAX
        )
        if out_shift < 0:
            raise UserError(
                f"layer {op.name}: the residual's scale is {ratio:.3g} times the sum's, too much for {THREE_BITS} bits; "
                "calibrate with pictures like those the network was trained on"
            )
        return out_shift

    @staticmethod
    def _hardswish_shift(name: str, target: Encoding, steps: Tensor) -> int:
        """The largest second shift with which ``three`` fits and ``t`` reaches the largest output of every channel."""
        reach = (127 - target.zeros) * steps
        for out_shift in range(OUT_SHIFT_MAX, -1, -1):
            delta = (6 * steps * 2.0**-out_shift).sqrt()
            if float((3 / delta).max()) <= _THREE_MAX and float((reach / delta).max()) <= _T_MAX:
                return out_shift
        raise UserError(
            f"layer {name}: its hardswish has outputs too small or too large for {PRE_BITS} bits; "
            "calibrate with pictures like those the network was trained on"
        )


def _int32(values: Tensor) -> npt.NDArray[np.int32]:
    return values.numpy().astype(np.int32)
