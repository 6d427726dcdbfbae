"""What an artifact's integers stand for, from the artifact alone: the real values of tensors, weights and biases.

The manifest keeps each tensor's scale and, in ``calibration.factors``, its channels' factors; whatever else is real follows from
the integer arrays, so that weights are seen as they act, however they were chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quant.artifact import Artifact
from quant.contract import ACT_BITS, PRE_BITS
from quant.layer import Layer
from quant.networks.spec import NetworkSpec
from quant.ptq.export import image_encoding
from quant.ptq.graph import FloatLayer
from quant.ptq.rounding import by_output, per_input
from triovit.errors import UserError

#: LayerNorm's ``n`` has so many fraction bits (contract, section 6).
_NORM_BITS = 9


@dataclass(frozen=True)
class Coding:
    """How integers stand for a tensor: ``real = steps[c] * (q - zeros[c])``; both float64 ``[C]``."""

    steps: Tensor
    zeros: Tensor
    #: Signed bits of ``q``.
    bits: int = ACT_BITS

    def rounded(self, real: Tensor) -> Tensor:
        """Real values float32 ``[N, C, ...]`` as the integers can hold them: rounded and saturated."""
        steps, zeros = self._beside(real)
        top = 1 << (self.bits - 1)
        return ((real / steps).round().add(zeros).clamp(-top, top - 1) - zeros) * steps

    def saturated(self, real: Tensor) -> Tensor:
        """Real values float32 ``[N, C, ...]`` brought into the range that the integers have, not rounded."""
        steps, zeros = self._beside(real)
        top = 1 << (self.bits - 1)
        return real.clamp((-top - zeros) * steps, (top - 1 - zeros) * steps)

    def real(self, integers: Tensor) -> Tensor:
        """What integers ``[N, C, ...]`` stand for, float32."""
        steps, zeros = self._beside(integers)
        return (integers.float() - zeros) * steps

    def _beside(self, values: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1, *[1] * (values.ndim - 2))
        return self.steps.float().reshape(shape), self.zeros.float().reshape(shape)


def codings(artifact: Artifact, spec: NetworkSpec, file: str = "artifact") -> dict[str, Coding]:
    """The coding of the picture and of every layer's tensor, by name.

    The picture's is that of the normalised picture, for ``spec``'s mean and deviation; its zero points need not be whole.
    ``file`` begins messages.

    Raises
    ------
    UserError
        The artifact does not say its channels' factors.
    """
    known = artifact.calibration.get("factors")
    if not isinstance(known, dict):
        raise UserError(f"{file}: field calibration.factors is missing, and real values need it; quantize the network again")
    image = image_encoding(spec)
    found = {artifact.input_name: Coding(image.scale * image.factors, image.zeros)}
    for layer in artifact.layers:
        factors = torch.tensor(known.get(layer.name, 1.0), dtype=torch.float64).expand(layer.output_shape[0])
        # Attention has no zero points.
        zeros = _array(layer, "zero").double() if layer.post else torch.zeros_like(factors)
        found[layer.name] = Coding(layer.output_scale * factors, zeros, PRE_BITS if layer.logits else ACT_BITS)
    return found


def real_weights(floats: FloatLayer, layer: Layer, known: Mapping[str, Coding]) -> FloatLayer:
    """A layer of the float network with the weights and biases that the integer layer has, as real numbers (float32).

    ``known`` are the tensors' codings. Pooling, upsampling and attention have no weights.
    """
    source, steps = known[layer.inputs[0]], _first_steps(layer, known[layer.name])
    units = torch.ldexp(_array(layer, "mult").double(), -_array(layer, "shift")) * steps
    bias = _array(layer, "bias").double()
    if layer.kind == "layernorm":
        gamma = _array(layer, "gamma").double() * units * (1 << _NORM_BITS)
        return FloatLayer(floats.op, gamma.float(), (bias * units).float())
    integers = _array(layer, "weight").double().reshape(floats.weight.shape)
    # Zero points were folded into the bias: the input's, and the residual's where the second step does not take them off.
    real = (bias + (integers * per_input(source.zeros, floats)).flatten(1).sum(1)) * units
    if layer.post and (residual := layer.post.residual):
        real = real + _array(layer, "three") * (known[residual.tensor].zeros - residual.zero) * steps
    weight = integers * by_output(units, integers) / per_input(source.steps, floats)
    return FloatLayer(floats.op, weight.float(), real.float())


def _first_steps(layer: Layer, target: Coding) -> Tensor:
    """The real step of post-processing's ``t``, float64 ``[C]`` (contract, section 3)."""
    assert layer.post is not None  # for the type checker: only attention has none
    last = target.steps * 2.0**-layer.post.out_shift
    return (6 * last).sqrt() if layer.post.act == "hardswish" else last


def _array(layer: Layer, name: str) -> Tensor:
    return torch.from_numpy(layer.arrays[name].astype(np.int64))
