"""The float network with some of the integer network's quantizers in it: fake quantization, each part switched by itself.

With no quantizer active it is the float network, value by value. With all of them it rounds what the integer network rounds, but
for the constants of post-processing (multipliers and the 16-bit intermediate), which are far finer.
"""

from collections import ChainMap
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quant import integer
from quant.artifact import Artifact
from quant.contract import CODE_BITS, FRACTION_BITS, QUOTIENT_SHIFT, RECIPROCALS, SUM_BITS
from quant.layer import Layer
from quant.networks.model import EfficientViT
from quant.ptq.codings import Coding, codings, real_weights
from quant.ptq.graph import FloatLayer, compute, fold
from triovit.errors import UserError

#: The parts of a layer that have a quantizer: its tensor, its weights, and of an attention Z, the sums of K and the divisors.
OUTPUT, WEIGHT, Z, KSUM, CODE = PARTS = ("output", "weight", "z", "ksum", "code")
_SUM_TOP = (1 << (SUM_BITS - 1)) - 1


@dataclass(frozen=True)
class Quantizer:
    """One place where the integer network rounds; ``part`` is one of `PARTS`."""

    layer: str
    part: str


class FakeNetwork:
    """A float network beside the artifact that was made of it; ``file`` begins messages.

    Raises
    ------
    UserError
        The network and the artifact have other layers, or the artifact does not say its channels' factors.
    """

    def __init__(self, network: EfficientViT, artifact: Artifact, file: str = "artifact"):
        self.network, self.spec = network.eval(), network.spec
        self.layers = fold(network)
        named = {layer.op.name: layer.op.output_shape for layer in self.layers}
        if named != {layer.name: layer.output_shape for layer in artifact.layers}:
            raise UserError(
                f"{file}: the float network's layers are not those of the integer network; quantize the network again"
            )
        self.artifact = artifact
        #: By tensor.
        self.codings: dict[str, Coding] = codings(artifact, self.spec, file)
        #: Layers that have weights, with those of the integer network, by name.
        self.quantized: dict[str, FloatLayer] = {
            name: real_weights(layer, artifact.layer(name), self.codings)
            for layer in self.layers
            if layer.weight.numel() and (name := layer.op.name)
        }
        self._last_use = {name: place for place, layer in enumerate(self.layers) for name in _reads(layer)}

    @property
    def quantizers(self) -> list[Quantizer]:
        """All of them in execution order: a layer's weights or attention's parts, then its tensor."""
        found = []
        for layer in self.layers:
            name = layer.op.name
            inner = (Z, KSUM, CODE) if layer.op.kind == "attention" else (WEIGHT,) if name in self.quantized else ()
            found += [Quantizer(name, part) for part in (*inner, OUTPUT)]
        return found

    def run(
        self,
        pictures: Tensor,
        active: Collection[Quantizer] = (),
        *,
        given: Mapping[str, Tensor] | None = None,
        keep_all: bool = True,
    ) -> dict[str, Tensor]:
        """Compute the tensors of uint8 pictures ``[N, 3, H, W]``, float32, by layer.

        Parameters
        ----------
        pictures
            Of the network's size.
        active
            The quantizers that round.
        given
            What this returned for the same pictures with nothing active: what no active quantizer reaches is taken from it.
        keep_all
            Otherwise the network's output only.
        """
        parts: dict[str, set[str]] = {}
        for quantizer in active:
            parts.setdefault(quantizer.layer, set()).add(quantizer.part)
        image = self.artifact.input_name
        # What is computed here hides what is given.
        fresh: dict[str, Tensor] = {}
        tensors = ChainMap(fresh, dict(given or {image: self.network.normalise(pictures)}))
        kept = {image: tensors[image]} if keep_all else {}
        with torch.no_grad():
            for index, layer in enumerate(self.layers):
                name, reads = layer.op.name, _reads(layer)
                if given is None or name in parts or reads & fresh.keys():
                    fresh[name] = self._layer(layer, tensors, parts.get(name, set()))
                if keep_all or name == self.artifact.output:
                    kept[name] = tensors[name]
                for source in reads & fresh.keys():
                    if self._last_use[source] == index:
                        del fresh[source]
        return kept

    def rounded(self, quantizer: Quantizer, given: Mapping[str, Tensor]) -> Tensor:
        """A layer's tensor with one of its quantizers active and everything else float; ``given`` is as in `run`."""
        layer = next(layer for layer in self.layers if layer.op.name == quantizer.layer)
        if quantizer.part == OUTPUT:
            return self.codings[quantizer.layer].rounded(given[quantizer.layer])
        with torch.no_grad():
            return self._layer(layer, given, {quantizer.part})

    def _layer(self, layer: FloatLayer, tensors: Mapping[str, Tensor], parts: Collection[str]) -> Tensor:
        name = layer.op.name
        if {Z, KSUM, CODE} & set(parts):
            output = self._attend(layer, tensors, parts)
        else:
            output, _ = compute(self.network, self.quantized[name] if WEIGHT in parts else layer, tensors)
        return self.codings[name].rounded(output) if OUTPUT in parts else output

    def _attend(self, layer: FloatLayer, tensors: Mapping[str, Tensor], parts: Collection[str]) -> Tensor:
        """Attention with some of its inner quantizers (contract, section 7).

        The quotient saturates as the integers do: where a rounded divisor is all but 0, it would be any size.
        """
        op, made = layer.op, self.artifact.layer(layer.op.name)
        q, k, v = integer.split_heads([tensors[name] for name in op.inputs], op.dim)
        steps = [self.codings[name].steps.float().reshape(-1, 3, op.dim, 1) for name in op.inputs]
        q_step, k_step, v_step = torch.cat(steps).unbind(1)
        z_step = k_step @ v_step.transpose(-1, -2) / _factor(made, "z")[:, None, None]
        sum_step = k_step[..., 0] / _factor(made, "k")[:, None]
        z, ksum = k @ v.transpose(-1, -2), k.sum(-1)
        if Z in parts:
            top = 1 << (made.attrs["z_bits"] - 1)
            z = (z / z_step).round().clamp(-top, top - 1) * z_step
        if KSUM in parts:
            ksum = (ksum / sum_step).round().clamp(max=_SUM_TOP) * sum_step
        divisor, numerator = (ksum[:, :, None] @ q)[:, :, 0], z.transpose(-1, -2) @ q
        # One step of the divisor and of the numerator: whatever q_i gains, k_i loses, so that any i will do.
        unit = (sum_step * q_step[..., 0])[:, :1]
        div_min = torch.from_numpy(made.arrays["div_min"].astype(np.int64))
        if CODE in parts:
            code = integer.divisor_code((divisor / unit).round().long(), div_min, made.attrs["code_bits"])
            numerators = numerator / (z_step[:, 0, :, None] * q_step[:, :1])
            out_step = self.codings[op.name].steps.float().reshape(-1, op.dim, 1)
            inverse = _inverse(code, made.attrs["code_bits"])[:, :, None]
            output = numerators * inverse * _factor(made, "o")[:, None, None] * out_step
        else:
            if KSUM in parts:
                # Rounded sums may vanish where float ones do not; code 0 then stands for the least divisor.
                divisor = torch.where(divisor > 0, divisor, unit * torch.exp2(div_min.float())[:, None])
            output = numerator / (divisor + self.spec.attention_eps)[:, :, None]
        return self.codings[op.name].saturated(output.reshape(len(output), *op.output_shape))


def _reads(layer: FloatLayer) -> set[str]:
    """The tensors that a layer reads, the residual among them."""
    return {*layer.op.inputs, layer.op.residual} - {""}


def _factor(layer: Layer, name: str) -> Tensor:
    """An attention's multiplier and shift as one real factor a head, float32 ``[heads]``."""
    return torch.from_numpy(np.ldexp(layer.arrays[f"{name}_mult"].astype(np.float32), -layer.arrays[f"{name}_shift"]))


def _inverse(code: Tensor, code_bits: int) -> Tensor:
    """What the quotient is multiplied by for a code, before the head's own factor; float32, shaped as ``code``."""
    if code_bits == CODE_BITS:
        return torch.exp2(-code.float())
    reciprocal = torch.tensor(RECIPROCALS, dtype=torch.float32)[code & ((1 << FRACTION_BITS) - 1)]
    return reciprocal * torch.exp2(-((code >> FRACTION_BITS) + QUOTIENT_SHIFT).float())
