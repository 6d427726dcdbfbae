"""From an artifact to an ONNX model in QDQ form."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from quant.artifact import Artifact
from quant.layer import Layer
from quant.onnx.attention import attention
from quant.onnx.graph import Activation, Graph
from quant.onnx.kinds import ACCUMULATORS
from quant.onnx.post import post_process, spread
from quant.onnx.steps import steps
from triovit import __version__
from triovit.errors import InternalError

#: The first operator set with LayerNormalization, so that many runtimes read the file, and the format's version of that time.
OPSET, IR_VERSION = 17, 8
#: The name of the axis that counts pictures, and of the model's output.
BATCH, OUTPUT = "pictures", "output"


def to_onnx(artifact: Artifact) -> onnx.ModelProto:
    """Write the network as QuantizeLinear and DequantizeLinear around operators on real numbers.

    * Input ``image``: raw pixels, uint8 ``[pictures, 3, H, W]`` with any number of pictures. ``output``: float32, the int16
      logits times their scale.
    * Every tensor of the contract is a QuantizeLinear ``<layer>.q`` with one scale and one zero point. What differs from channel
      to channel stands before it as ``Mul`` (``1 / m_c``, channel-wise migration) and ``Add`` (the zero points of filter-wise
      shifting): the readers' weights and biases hold the inverse already. Logits are rounded with plain operators.
    * Weights are int8 with a scale for each output channel, biases int32 with the accumulator's.
    * Attention's Z is int8 with a scale for each head; of fifteen bits it is rounded and clipped with plain operators, as Ks
      always is. The divisor is what the contract's code stands for. Upsampling is a Resize with the exact cubic.

    The contract's integers decide every scale: multipliers and shifts, not the float network. What remains is the difference
    between roundings: ONNX rounds halves to even and keeps ``t`` unrounded. ``onnx.checker`` has passed the model.

    Parameters
    ----------
    artifact
        A network that its reader has checked.
    """
    graph = Graph()
    name = artifact.input_name
    # A grey level is the picture's step; mean and deviation are in the stem's weights and bias.
    graph.activations[name] = Activation(name, artifact.input_shape, 1.0, 0, np.uint8, offset=128)
    for layer in artifact.layers:
        _add(graph, layer)
    graph.node("Identity", [_output(graph, artifact.layer(artifact.output))], OUTPUT)
    model = _model(artifact, graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def to_bytes(model: onnx.ModelProto) -> bytes:
    """The file's content; equal models give equal bytes."""
    return bytes(model.SerializeToString(deterministic=True))


def _add(graph: Graph, layer: Layer) -> None:
    if layer.kind == "attention":
        attention(graph, layer)
        return
    if layer.post is None or layer.kind not in ACCUMULATORS:
        raise InternalError(f"layer {layer.name}: kind {layer.kind} has no ONNX form")
    found = steps(layer, layer.post)
    post_process(graph, layer, layer.post, found, ACCUMULATORS[layer.kind](graph, layer, found))


def _output(graph: Graph, layer: Layer) -> str:
    """The network's output in real values; zero points of single channels, which no reader's bias makes up for, are taken off."""
    real = graph.real(layer.name)
    if layer.logits or layer.post is None:
        return real
    excess = layer.arrays["zero"].astype(np.float64) - graph.activations[layer.name].zero
    return graph.affine(real, f"{layer.name}.centred", np.ones(1), spread(-layer.output_scale * excess, layer))


def _model(artifact: Artifact, graph: Graph) -> onnx.ModelProto:
    shape = artifact.layer(artifact.output).output_shape
    made = helper.make_graph(
        graph.nodes,
        str(artifact.network.get("name", "network")),
        [helper.make_tensor_value_info(artifact.input_name, TensorProto.UINT8, [BATCH, *artifact.input_shape])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [BATCH, *shape])],
        list(graph.constants.values()),
    )
    return helper.make_model(
        made,
        producer_name="triovit",
        producer_version=__version__,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
