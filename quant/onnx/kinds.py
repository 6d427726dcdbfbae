"""One function a kind of layer: its accumulators with bias, as real values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.layer import Layer
from quant.onnx.graph import Graph
from quant.onnx.post import spread
from quant.onnx.steps import Steps
from quant.upsampling import COEFFICIENT_BITS, CUBIC

#: LayerNorm's ``n`` has 9 fractional bits (integer contract, section 6).
_NORM_ONE = 512
#: Keeps a vector of equal values from a division by 0; small beside the variance of any other.
_EPSILON = 1e-20


def _conv(graph: Graph, layer: Layer, steps: Steps) -> str:
    """Each input channel is read with its own ``pad`` as zero point."""
    return _convolution(graph, layer, steps, layer.arrays["weight"], layer.arrays["pad"])


def _pw(graph: Graph, layer: Layer, steps: Steps) -> str:
    zero = np.asarray(graph.activations[layer.inputs[0]].zero)
    return _convolution(graph, layer, steps, layer.arrays["weight"][..., None, None], zero, groups=layer.attrs["groups"])


def _dw(graph: Graph, layer: Layer, steps: Steps) -> str:
    """Each channel is read with its own ``pad`` as zero point."""
    weight = layer.arrays["weight"][:, None]
    return _convolution(graph, layer, steps, weight, layer.arrays["pad"], groups=len(weight))


def _fc(graph: Graph, layer: Layer, steps: Steps) -> str:
    zero = np.asarray(graph.activations[layer.inputs[0]].zero)
    return graph.node("Gemm", _operands(graph, layer, steps, layer.arrays["weight"], zero), f"{layer.name}.acc", transB=1)


def _pool(graph: Graph, layer: Layer, steps: Steps) -> str:
    """A mean, times what remains of ``mult``, ``shift`` and ``1 / P``: one but for the rounding of ``mult``."""
    source, name = graph.activations[layer.inputs[0]], layer.name
    mean = graph.node("GlobalAveragePool", [graph.real(layer.inputs[0])], f"{name}.mean")
    vector = graph.node("Flatten", [mean], f"{name}.vector", axis=1)
    bias = layer.arrays["bias"].astype(np.float64) + source.pixels * source.zero
    return graph.affine(
        vector, f"{name}.acc", spread(steps.acc * source.pixels / source.scale, layer), spread(steps.acc * bias, layer)
    )


def _upsample(graph: Graph, layer: Layer, steps: Steps) -> str:
    """The exact cubic; its coefficients in the contract are rounded where the factor is 4."""
    source, name, one = graph.activations[layer.inputs[0]], layer.name, 1 << 2 * COEFFICIENT_BITS
    scales = graph.constant(f"{name}.scales", np.array([1, 1, layer.attrs["factor"], layer.attrs["factor"]], np.float32))
    enlarged = graph.node(
        "Resize",
        # No region of interest; outside of the map the border is repeated.
        [graph.real(layer.inputs[0]), "", scales],
        f"{name}.enlarged",
        mode="cubic",
        cubic_coeff_a=float(CUBIC),
        coordinate_transformation_mode="half_pixel",
    )
    bias = layer.arrays["bias"].astype(np.float64) + one * source.zero
    return graph.affine(enlarged, f"{name}.acc", spread(steps.acc * one / source.scale, layer), spread(steps.acc * bias, layer))


def _layernorm(graph: Graph, layer: Layer, steps: Steps) -> str:
    """Factor and offset are the accumulator's; scale and zero point of the input drop out.

    The contract's whole square root is coarser than this one, which shows where a vector hardly varies.
    """
    name = layer.name
    gamma = graph.scaled(f"{name}.gamma", layer.arrays["gamma"], steps.acc * _NORM_ONE)
    beta = graph.scaled(f"{name}.bias", layer.arrays["bias"], steps.acc)
    return graph.node("LayerNormalization", [graph.real(layer.inputs[0]), gamma, beta], f"{name}.acc", axis=-1, epsilon=_EPSILON)


def _convolution(
    graph: Graph, layer: Layer, steps: Steps, weight: npt.NDArray[np.int8], zeros: npt.NDArray[Any], groups: int = 1
) -> str:
    """A convolution with int8 ``weight`` ``[O, I / groups, k, k]``; outside the map each channel has its value of ``zeros``."""
    kernel, stride = weight.shape[-1], layer.attrs.get("stride", 1)
    return graph.node(
        "Conv",
        _operands(graph, layer, steps, weight, zeros, groups),
        f"{layer.name}.acc",
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[kernel // 2] * 4,
        group=groups,
    )


def _operands(
    graph: Graph, layer: Layer, steps: Steps, weight: npt.NDArray[np.int8], zeros: npt.NDArray[Any], groups: int = 1
) -> list[str]:
    """Input, weight and bias in real values, the input read with the zero points ``zeros`` (``[]`` or ``[I]``).

    The artifact's bias holds ``-sum w * zero``, which the zero points of DequantizeLinear bring in as well; so it is taken out.
    """
    name, source = layer.name, layer.inputs[0]
    inputs = weight.shape[1]
    # One row a group: the zero points of the channels that its outputs read.
    read = np.broadcast_to(zeros, groups * inputs).reshape(groups, 1, inputs, 1).astype(np.int64)
    bias = layer.arrays["bias"] + (weight.reshape(groups, -1, inputs, weight[0, 0].size) * read).sum((2, 3)).reshape(-1)
    return [
        graph.real_from(source, zeros, name),
        graph.scaled(f"{name}.weight", weight, steps.acc / graph.activations[source].scale),
        graph.scaled(f"{name}.bias", bias.astype(np.int32), steps.acc),
    ]


#: Every kind of layer that is post-processed.
ACCUMULATORS: dict[str, Callable[[Graph, Layer, Steps], str]] = {
    "conv": _conv,
    "pw": _pw,
    "dw": _dw,
    "fc": _fc,
    "pool": _pool,
    "upsample": _upsample,
    "layernorm": _layernorm,
}
