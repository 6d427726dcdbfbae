"""A block in real numbers that are rounded where the integers are, so that gradients can pass.

A tensor is held as ``u = scale * (q - zero)``, its real value divided by the channels' factors: that is what convolutions
multiply, since their weights have the factors in them. What the integers round besides (multipliers, biases, the first step of
post-processing) is far finer and left out.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional

from quant import integer
from quant.contract import ACT_BITS, CODE_BITS, FRACTION_BITS, QUOTIENT_SHIFT, RECIPROCALS, SUM_BITS, ZERO_BITS
from quant.layer import Layer
from quant.networks.layout import Operation
from quant.ptq.encoding import Encoding
from quant.ptq.rounding import Rounded
from quant.reconstruct.blocks import Block
from quant.upsampling import COEFFICIENT_BITS, matrix

_LOW, _HIGH = -(1 << (ACT_BITS - 1)), (1 << (ACT_BITS - 1)) - 1
#: A learned step stays within this factor of the first one, either way.
_FARTHEST = 4.0
#: Limits to which AdaRound's sigmoid is stretched before it is cut off at 0 and 1.
_STRETCH_LOW, _STRETCH_HIGH = -0.1, 1.1
#: How far, in steps, weights begin at most from the integers that they were rounded to without learning.
_AWAY = 0.1


def through(value: Tensor, gradient: Tensor) -> Tensor:
    """``value`` with the gradient of ``gradient``."""
    return gradient + (value - gradient).detach()


def round_half_up(value: Tensor) -> Tensor:
    """Round as the contract does, with the gradient of a straight line."""
    return through((value + 0.5).floor(), value)


def _channels(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(1, -1, *[1] * (like.ndim - 2))


class Step(nn.Module):
    """Rounds a tensor as its encoding says, with steps that can be learned, each channel's or (``common``) one for all.

    Zero points stay where they are, but channels' own ones follow the steps, so that the range keeps its middle, or its lower
    end where values ``crowd`` there.
    """

    def __init__(self, encoding: Encoding, *, common: bool, crowd: bool):
        super().__init__()
        self.encoding, self.common = encoding, common
        self.gain = nn.Parameter(torch.zeros(1 if common else len(encoding.factors)))
        self.limits = -log(_FARTHEST), log(_FARTHEST)
        self.register_buffer("steps", (encoding.factors * encoding.scale).float())
        self.register_buffer("zeros", encoding.zeros.float())
        self._follows = encoding.own_zeros
        most = 1 << (ACT_BITS if encoding.padded else ZERO_BITS) - 1
        self._reach = -most, most - 1
        self._kept = _LOW if crowd else (_LOW + _HIGH) / 2

    def forward(self, real: Tensor) -> Tensor:
        """Round real values ``[N, C, ...]``."""
        gain = self.gain.clamp(*self.limits).exp()
        steps, zeros = _channels(self.steps * gain, real), self.zeros
        zeros = _channels(round_half_up(self._moved(zeros, gain)).clamp(*self._reach) if self._follows else zeros, real)
        codes = (round_half_up(real / steps) + zeros).clamp(_LOW, _HIGH)
        return steps * (codes - zeros)

    def _moved(self, zeros: Tensor, gain: Tensor) -> Tensor:
        """The zero points with which one code's value stays as it is."""
        return (zeros - self._kept) / gain + self._kept

    def learned(self, first: Encoding) -> Encoding:
        """``first``, which may differ in its factors, with the learned steps."""
        gain = self.gain.detach().cpu().double().clamp(*self.limits).exp()
        zeros = (self._moved(first.zeros, gain) + 0.5).floor().clamp(*self._reach) if self._follows else first.zeros
        if self.common:
            return replace(first, scale=first.scale * float(gain), zeros=zeros)
        return replace(first, factors=first.factors * gain, zeros=zeros)


def _between(exact: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """The lower one of ``first`` and its neighbour on the side of the ``exact`` weights, and how far up from there they begin.

    The first integers may make up for one another's errors: weights begin near them, not at the exact ones.
    """
    above, away = exact >= first, (exact - first).abs().clamp(max=_AWAY)
    return torch.where(above, first, first - 1), torch.where(above, away, 1 - away)


class Weights(nn.Module):
    """A layer's weights between rounding down (0) and up (1), and what is added to its bias."""

    def __init__(self, wanted: Tensor, bias: Tensor, moved: Tensor, rounded: Rounded, bias_step: Tensor):
        """``wanted`` are the float weights times the input's factors.

        ``moved`` has been added to the float ``bias`` already; the rest is learned in ``bias_step`` (each ``[O]``).
        """
        super().__init__()
        self.rounded, self.moved_before = rounded, moved
        below, share = _between((wanted / self._spread(rounded.scales)).clamp(-127, 127), rounded.weight)
        self.up = nn.Parameter(torch.logit((share.float() - _STRETCH_LOW) / (_STRETCH_HIGH - _STRETCH_LOW)))
        self.moved = nn.Parameter(torch.zeros(len(rounded.bias)))
        self.register_buffer("below", below.float())
        self.register_buffer("first", rounded.weight.float())
        self.register_buffer("scales", rounded.scales.float())
        self.register_buffer("exact_bias", (bias.double() + moved).float())
        self.register_buffer("rounded_bias", rounded.bias.float())
        self.register_buffer("bias_step", bias_step.float())
        self.register_buffer("wanted", wanted.float())
        #: ``"exact"``, ``"first"`` (rounded without learning), ``"soft"`` (between down and up) or ``"hard"`` (as learned).
        self.mode = "first"

    def _spread(self, values: Tensor) -> Tensor:
        return values.reshape(-1, *[1] * (self.rounded.weight.ndim - 1))

    def share(self) -> Tensor:
        """How far up each weight is, 0 .. 1: AdaRound's rectified sigmoid."""
        return (self.up.sigmoid() * (_STRETCH_HIGH - _STRETCH_LOW) + _STRETCH_LOW).clamp(0, 1)

    def integers(self) -> Tensor:
        """The weights in their steps."""
        if self.mode in ("exact", "first"):
            return self.first
        share = self.share() if self.mode == "soft" else (self.share() >= 0.5).float()
        return (self.below + share).clamp(-127, 127)

    def weight(self) -> Tensor:
        """The weights' real values, the input's factors in them."""
        if self.mode == "exact":
            return self.wanted
        return self.integers() * self._spread(self.scales)

    def bias(self) -> Tensor:
        """The real bias."""
        # The correction is for the weights as they were rounded at first.
        return (self.rounded_bias if self.mode == "first" else self.exact_bias) + self.moved * self.bias_step

    def unsettled(self, exponent: float) -> Tensor:
        """AdaRound's regulariser: the sum of ``1 - |2 share - 1| ** exponent``, 0 where every weight is rounded."""
        return (1 - (2 * self.share() - 1).abs().pow(exponent)).sum()

    def rounded_as_learned(self) -> Rounded:
        """The learned weights; the bias is as it was."""
        return replace(self.rounded, weight=self.integers().detach().cpu().double())

    def moved_bias(self) -> Tensor:
        """What was added to the bias (float64 ``[O]``)."""
        return self.moved_before + (self.moved * self.bias_step).detach().cpu().double()


class FakeBlock(nn.Module):
    """All layers of a block.

    ``encodings`` are those of the block's tensors and inputs, ``weights`` are by layer, and ``integers`` are the layers as they
    were exported with them: attention's inner factors and LayerNorm's gamma come from there.
    """

    def __init__(
        self,
        block: Block,
        encodings: dict[str, Encoding],
        weights: dict[str, Weights],
        integers: list[Layer],
    ):
        super().__init__()
        self.block, self.encodings = block, encodings
        self.integers = {layer.name: layer for layer in integers}
        self.weights = nn.ModuleDict({_key(name): value for name, value in weights.items()})
        common = self._common()
        self.steps = nn.ModuleDict(
            {
                _key(op.name): Step(encodings[op.name], common=op.name in common, crowd=op.hardswish)
                for op in block.ops
                if not self.integers[op.name].logits
            }
        )

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Compute the output's real values from the inputs' ``u``."""
        tensors, real = dict(inputs), torch.empty(0)
        for op in self.block.ops:
            real = self._branch(op, [tensors[name] for name in op.inputs])
            if op.hardswish:
                real = functional.hardswish(real)
            if op.residual:
                real = real + self._real(op.residual, tensors[op.residual])
            if (key := _key(op.name)) in self.steps:
                real = self.steps[key](real)
                tensors[op.name] = real / self._factors(op.name, real)
        return real

    def _common(self) -> set[str]:
        """The tensors whose channels' steps keep their ratios: attention's, and those that have no factors."""
        attention = {name for op in self.block.ops if op.kind == "attention" for name in (op.name, *op.inputs)}
        return attention | {name for name, encoding in self.encodings.items() if bool((encoding.factors == 1).all())}

    def _real(self, name: str, u: Tensor) -> Tensor:
        return u * self._factors(name, u)

    def _factors(self, name: str, like: Tensor) -> Tensor:
        return _channels(self.encodings[name].factors.float().to(like.device), like)

    def _branch(self, op: Operation, inputs: list[Tensor]) -> Tensor:
        name, u = op.inputs[0], inputs[0]
        if op.kind == "attention":
            return self._attention(op, inputs)
        if op.kind == "pool":
            return self._real(name, u).mean((2, 3))
        if op.kind == "upsample":
            rows, columns = (
                torch.tensor(matrix(op.size_out[0] // op.size_in[0], extent), dtype=u.dtype, device=u.device)
                / (1 << COEFFICIENT_BITS)
                for extent in u.shape[2:]
            )
            return rows @ self._real(name, u) @ columns.T
        if op.kind == "layernorm":
            return self._norm(op, u)
        weights = self.weights[_key(op.name)]
        if op.kind == "fc":
            return functional.linear(u, weights.weight(), weights.bias())
        if op.kind != "conv":
            return functional.conv2d(u, weights.weight(), weights.bias(), op.stride, op.kernel // 2, groups=op.groups)
        # Outside the picture is the whole number next to the zero point, and not the zero point itself.
        source = self.encodings[name]
        edge = ((source.zeros.round() - source.zeros) * source.scale).float().to(u.device).reshape(1, -1, 1, 1)
        weight = weights.weight()
        bias = weights.bias() + (weight * edge).sum((1, 2, 3))
        return functional.conv2d(u - edge, weight, bias, op.stride, op.kernel // 2)

    def _norm(self, op: Operation, u: Tensor) -> Tensor:
        layer = self.block.layers[self.block.ops.index(op)]
        gamma = torch.from_numpy(self.integers[op.name].arrays["gamma"]).float()
        gamma = gamma * (float(layer.weight.abs().max()) / max(float(gamma.abs().max()), 1.0))
        centred = u - u.mean(1, keepdim=True)
        deviation = centred.square().mean(1, keepdim=True).clamp(min=1e-30).sqrt()
        return centred / deviation * gamma.to(u.device) + layer.bias.to(u.device)

    def _attention(self, op: Operation, inputs: list[Tensor]) -> Tensor:
        """Linear attention by its integers' rules, in the steps that the scales had at first."""
        layer = self.integers[op.name]
        arrays = {name: torch.from_numpy(array).to(inputs[0].device) for name, array in layer.arrays.items()}
        z_gain, k_gain, o_gain = (
            torch.ldexp(arrays[f"{part}_mult"].float(), -arrays[f"{part}_shift"]).reshape(1, -1, 1, 1) for part in "zko"
        )
        q, k, v = integer.split_heads([u / self.encodings[name].scale for u, name in zip(inputs, op.inputs, strict=True)], op.dim)
        top = 1 << (layer.attrs["z_bits"] - 1)
        z = round_half_up(k @ v.transpose(-1, -2) * z_gain).clamp(-top, top - 1)
        ksum = round_half_up(k.sum(-1, keepdim=True) * k_gain).clamp(max=(1 << (SUM_BITS - 1)) - 1)
        divisor = (ksum.transpose(-1, -2) @ q).squeeze(2)
        inverse = through(self._inverse(divisor, arrays["div_min"], layer.attrs["code_bits"]), 1 / divisor.clamp(min=1))
        quotient = (z.transpose(-1, -2) @ q) * inverse[:, :, None] * o_gain
        target = self.encodings[op.name]
        return self._real(op.name, quotient.reshape(len(quotient), *op.output_shape) * target.scale)

    @staticmethod
    def _inverse(divisor: Tensor, div_min: Tensor, code_bits: int) -> Tensor:
        """What the quotient's numerator is multiplied by, without the head's own factor."""
        code = integer.divisor_code((divisor.detach() + 0.5).floor().long(), div_min.long(), code_bits)
        if code_bits == CODE_BITS:
            return torch.exp2(-code.float())
        part = torch.tensor(RECIPROCALS, dtype=divisor.dtype, device=divisor.device)[code & ((1 << FRACTION_BITS) - 1)]
        return part * torch.exp2(-(code >> FRACTION_BITS).to(divisor.dtype) - QUOTIENT_SHIFT)

    def attention_steps(self) -> list[Step]:
        """The steps of attention's inputs and of its output."""
        wanted = [name for op in self.block.ops if op.kind == "attention" for name in (*op.inputs, op.name)]
        return [self.steps[_key(name)] for name in wanted]

    def learned_encodings(self, first: Mapping[str, Encoding]) -> dict[str, Encoding]:
        """``first``, by layer, with the learned steps."""
        return {
            name: self.steps[_key(name)].learned(encoding) if _key(name) in self.steps else encoding
            for name, encoding in first.items()
        }

    def learned_weights(self) -> dict[str, Rounded]:
        """The learned weights by layer, with the biases as they were."""
        return {
            op.name: self.weights[_key(op.name)].rounded_as_learned() for op in self.block.ops if _key(op.name) in self.weights
        }

    def moved_biases(self) -> dict[str, Tensor]:
        """What was added to the biases, by layer (float64 ``[O]``)."""
        return {op.name: self.weights[_key(op.name)].moved_bias() for op in self.block.ops if _key(op.name) in self.weights}


def _key(name: str) -> str:
    """A layer's name as a module's, which may hold no dot."""
    return name.replace(".", "/")
