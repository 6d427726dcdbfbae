"""Post-processing (docs/integer-contract.md, section 3) on real values: activation, residual, quantization."""

import numpy as np

from quant.layer import Layer, Post, Residual
from quant.onnx.graph import Activation, Floats, Graph
from quant.onnx.steps import Q_MAX, T_MAX, Steps, saturates_visibly


def spread(values: Floats, layer: Layer) -> Floats:
    """One value a channel ``[O]``, shaped to broadcast against the layer's output ``[N, O, ...]``."""
    return values.reshape(-1, *(1,) * (len(layer.output_shape) - 1))


def post_process(graph: Graph, layer: Layer, post: Post, steps: Steps, x: str) -> None:
    """Turn the real accumulators with bias, ``x``, into the layer's integer tensor.

    The zero points that filter-wise shifting gives to channels (10 bits) fit no int8 zero point: they are added as real numbers,
    and the tensor's own zero point is 0, which suits the next layer, whose bias makes up for them.
    """
    name = layer.name
    if layer.logits:
        _store_logits(graph, layer, x)
        return
    if saturates_visibly(layer, post):
        x = _saturate(graph, layer, post, steps, x)
    if post.act == "hardswish":
        x = graph.node("HardSwish", [x], f"{name}.hardswish")
    elif post.residual is not None:
        x = graph.node("Add", [x, _residual(graph, layer, post, post.residual)], f"{name}.sum")
    zeros = layer.arrays["zero"].astype(np.int64)
    common = bool((zeros == zeros[0]).all()) and -Q_MAX - 1 <= zeros[0] <= Q_MAX
    zero, moved = (int(zeros[0]), np.zeros(1)) if common else (0, layer.output_scale * zeros.astype(np.float64))
    x = graph.affine(x, f"{name}.output", spread(steps.factor, layer), spread(moved, layer))
    stored = graph.quantize(x, name, layer.output_scale, zero)
    graph.activations[name] = Activation(stored, layer.output_shape, layer.output_scale, zero)


def _store_logits(graph: Graph, layer: Layer, x: str) -> None:
    """Round to 16 bits with plain operators: QuantizeLinear gives int16 only from operator set 21 on."""
    name = layer.name
    step = graph.constant(f"{name}.step", np.asarray(layer.output_scale))
    ends = [graph.constant(f"{name}.{end}", np.asarray(float(t))) for end, t in (("low", -T_MAX - 1), ("high", T_MAX))]
    x = graph.node("Div", [x, step], f"{name}.in_steps")
    x = graph.node("Round", [x], f"{name}.rounded")
    x = graph.node("Clip", [x, *ends], f"{name}.q")
    graph.reals[name] = graph.node("Mul", [x, step], f"{name}.real")


def _saturate(graph: Graph, layer: Layer, post: Post, steps: Steps, x: str) -> str:
    if post.act == "hardswish":
        limit = graph.constant(f"{layer.name}.limit", spread(steps.t * T_MAX, layer))
        return graph.node("Min", [x, limit], f"{layer.name}.saturated")
    step = steps.t[0]
    ends = [graph.constant(f"{layer.name}.{end}", np.asarray(step * t)) for end, t in (("low", -T_MAX - 1), ("high", T_MAX))]
    return graph.node("Clip", [x, *ends], f"{layer.name}.saturated")


def _residual(graph: Graph, layer: Layer, post: Post, residual: Residual) -> str:
    """The residual tensor in real values, as ``three`` and ``res_zero`` scale it."""
    x = graph.real_from(residual.tensor, np.asarray(residual.zero), f"{layer.name}.residual")
    step = layer.output_scale * 2.0**-post.out_shift * layer.arrays["three"]
    factor = step / graph.activations[residual.tensor].scale
    return graph.affine(x, f"{layer.name}.residual", spread(factor, layer), np.zeros(()))
