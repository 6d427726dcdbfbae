"""Linear attention (docs/integer-contract.md, section 7) on real values."""

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from quant.contract import CODE_BITS, FRACTION_BITS, QUOTIENT_SHIFT, RECIPROCALS, SUM_BITS
from quant.layer import Layer
from quant.onnx.graph import Activation, Floats, Graph

#: Bits of a divisor (integer contract, section 8).
_DIVISOR_BITS = 26
#: Stands for a multiplier of 0, whose inverse is no scale: too small for any accumulator to reach half a step.
_FACTOR_MIN = 2.0**-60


def attention(graph: Graph, layer: Layer) -> None:
    """Add an attention layer.

    Z and Ks are rounded with a scale for each head: Z of eight bits to int8, more bits as real numbers. The divisor becomes the
    contract's code, then what that stands for.
    """
    name, dim, heads = layer.name, layer.attrs["dim"], layer.attrs["heads"]
    query, key_t, value = _heads(graph, layer)
    step = _input_steps(graph, layer)
    z_step = step**2 / _factor(layer, "z")
    k_step = step / _factor(layer, "k")

    z_t = graph.node("MatMul", [value, key_t], f"{name}.z.acc")
    z_t = graph.requantized(z_t, f"{name}.z", z_step, layer.attrs["z_bits"])
    pixel_axis = graph.constant(f"{name}.pixel_axis", np.array([2], np.int64))
    ksum = graph.node("ReduceSum", [key_t, pixel_axis], f"{name}.ksum.acc", keepdims=1)
    ksum = graph.requantized(ksum, f"{name}.ksum", k_step, SUM_BITS)
    numerator = graph.node("MatMul", [z_t, query], f"{name}.numerator")
    product = graph.node("MatMul", [ksum, query], f"{name}.product")

    # The quotient in real values: N * o_mult * 2^-o_shift steps of the output, over the divisor.
    factor = graph.constant(f"{name}.factor", _by_head(layer.output_scale * _factor(layer, "o") / (step * z_step)))
    scaled = graph.node("Mul", [numerator, factor], f"{name}.scaled")
    quotient = graph.node("Div", [scaled, divisors(graph, layer, product, step * k_step)], f"{name}.quotient")
    shape = graph.constant(f"{name}.shape", np.array([0, heads * dim, *layer.output_shape[1:]], np.int64))
    output = graph.node("Reshape", [quotient, shape], f"{name}.map")
    stored = graph.quantize(output, name, layer.output_scale)
    graph.activations[name] = Activation(stored, layer.output_shape, layer.output_scale, 0)


def _heads(graph: Graph, layer: Layer) -> tuple[str, str, str]:
    """relu(Q) ``[N, heads, d, P]``, relu(K) with pixels before channels, V as Q; over the heads of all inputs in turn."""
    name, dim, parts = layer.name, layer.attrs["dim"], []
    for index, source in enumerate(layer.inputs):
        # Section 7 reads every input with zero point 0.
        real = graph.real_from(source, np.asarray(0), f"{name}.{index}")
        shape = graph.constant(f"{name}.{index}.shape", np.array([0, -1, 3 * dim, graph.activations[source].pixels], np.int64))
        parts.append(graph.node("Reshape", [real, shape], f"{name}.{index}.heads"))
    qkv = parts[0] if len(parts) == 1 else graph.node("Concat", parts, f"{name}.heads", axis=1)
    query, key, value = graph.split(qkv, [dim] * 3, [f"{name}.{part}" for part in ("query", "key", "value")], axis=2)
    query, key = (graph.node("Relu", [part], f"{part}.relu") for part in (query, key))
    return query, graph.node("Transpose", [key], f"{key}.transposed", perm=[0, 1, 3, 2]), value


def divisors(graph: Graph, layer: Layer, product: str, unit: Floats) -> str:
    """What the code of each divisor stands for, float ``[N, heads, 1, P]``, from real products of ``unit`` a head."""
    name, codes = layer.name, np.arange(1 << layer.attrs["code_bits"])
    steps = graph.node("Mul", [product, graph.constant(f"{name}.per_unit", _by_head(1 / unit))], f"{name}.divisor.steps")
    whole = graph.node("Round", [steps], f"{name}.divisor.whole")
    if layer.attrs["code_bits"] == CODE_BITS:
        code = _whole_code(graph, layer, whole)
        values = np.exp2(codes)
    else:
        code = _fine_code(graph, layer, whole)
        reciprocals = np.array(RECIPROCALS)[codes & ((1 << FRACTION_BITS) - 1)]
        values = np.exp2((codes >> FRACTION_BITS) + QUOTIENT_SHIFT) / reciprocals
    ends = [graph.constant(f"{name}.code.{end}", np.asarray(float(n))) for end, n in (("low", codes[0]), ("high", codes[-1]))]
    clipped = graph.node("Clip", [code, *ends], f"{name}.code")
    index = graph.node("Cast", [clipped], f"{name}.code.index", to=TensorProto.INT64)
    return graph.node("Gather", [graph.constant(f"{name}.divisors", values), index], f"{name}.divisor", axis=0)


def _whole_code(graph: Graph, layer: Layer, whole: str) -> str:
    """``e - div_min``: from one and a half times a power of two on, ``e`` is the next exponent."""
    least = graph.constant(f"{layer.name}.least", _by_head(layer.arrays["div_min"].astype(np.float64)))
    return graph.node("Sub", [_exponent(graph, layer.name, whole, 1.5), least], f"{layer.name}.code.wide")


def _fine_code(graph: Graph, layer: Layer, whole: str) -> str:
    """``64 * (msb(D) - div_min) + f``; below 0 for a divisor of 0."""
    name = layer.name
    # D / 2^msb times 64 is 64 + f, so one more is taken from the exponent.
    least = graph.constant(f"{name}.least", _by_head(layer.arrays["div_min"].astype(np.float64) + 1))
    fractions = graph.constant(f"{name}.fractions", np.asarray(float(1 << FRACTION_BITS)))
    exponent = _exponent(graph, name, whole, 2.0)
    power = graph.node("Pow", [graph.constant(f"{name}.two", np.asarray(2.0)), exponent], f"{name}.power")
    mantissa = graph.node("Div", [whole, power], f"{name}.mantissa")
    fraction = graph.node("Floor", [graph.node("Mul", [mantissa, fractions], f"{name}.mantissa.wide")], f"{name}.fraction")
    above = graph.node("Sub", [exponent, least], f"{name}.above")
    return graph.node("Add", [graph.node("Mul", [above, fractions], f"{name}.above.wide"), fraction], f"{name}.code.wide")


def _exponent(graph: Graph, name: str, whole: str, second: float) -> str:
    """How many of ``second * 2^n``, ``n = 0 ..``, each whole divisor reaches: 0 for 0 and 1.

    Comparisons are exact, which logarithms of a runtime need not be.
    """
    limits = graph.constant(f"{name}.powers", second * np.exp2(np.arange(_DIVISOR_BITS))[:, None])
    reached = graph.node("GreaterOrEqual", [whole, limits], f"{name}.reached")
    counted = graph.node("Cast", [reached], f"{name}.counted", to=TensorProto.FLOAT)
    axis = graph.constant(f"{name}.power_axis", np.array([2], np.int64))
    return graph.node("ReduceSum", [counted, axis], f"{name}.exponent", keepdims=1)


def _input_steps(graph: Graph, layer: Layer) -> Floats:
    """The input's scale of every head, ``[heads]``."""
    width = 3 * layer.attrs["dim"]
    return np.concatenate(
        [np.full(found.shape[0] // width, found.scale) for found in map(graph.activations.__getitem__, layer.inputs)]
    )


def _factor(layer: Layer, field: str) -> Floats:
    mult, shift = (layer.arrays[f"{field}_{part}"].astype(np.float64) for part in ("mult", "shift"))
    return np.maximum(mult * np.exp2(-shift), _FACTOR_MIN)


def _by_head(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.reshape(-1, 1, 1)
