"""The ONNX file: its form, its bytes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from quant.artifact import Artifact
from quant.layer import KINDS, Layer
from quant.onnx.kinds import ACCUMULATORS
from quant.onnx.model import to_bytes, to_onnx
from tests.sim.golden.networks import pictures, small_network
from triovit.errors import InternalError


@pytest.fixture(scope="module")
def network() -> Artifact:
    return small_network()


@pytest.fixture(scope="module")
def model(network: Artifact) -> onnx.ModelProto:
    return to_onnx(network)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_every_kind_of_layer_has_a_form():
    assert {*ACCUMULATORS, "attention"} == set(KINDS)


def test_an_unknown_kind_is_a_fault_of_ours(network):
    last = network.layers[-1]
    other = Layer(last.name, "softmax", last.inputs, last.output_shape, 1.0, last.attrs, last.post, last.arrays)
    broken = Artifact(network.network, [*network.layers[:-1], other], network.output, input_shape=network.input_shape)
    with pytest.raises(InternalError, match=r"^layer fc2: kind softmax has no ONNX form$"):
        to_onnx(broken)


def test_the_same_network_gives_the_same_bytes(network, model):
    assert to_bytes(to_onnx(network)) == to_bytes(model)
    assert to_bytes(to_onnx(small_network(1))) != to_bytes(model)


def test_input_and_output(model):
    (source,), (output,) = model.graph.input, model.graph.output
    assert (source.name, source.type.tensor_type.elem_type) == ("image", TensorProto.UINT8)
    assert [axis.dim_param or axis.dim_value for axis in source.type.tensor_type.shape.dim] == ["pictures", 3, 9, 7]
    assert (output.name, output.type.tensor_type.elem_type) == ("output", TensorProto.FLOAT)
    assert [axis.dim_param or axis.dim_value for axis in output.type.tensor_type.shape.dim] == ["pictures", 5]


def test_weights_are_int8_and_biases_int32_with_a_scale_a_channel(network, model):
    nodes, found = {node.name: node for node in model.graph.node}, constants(model)
    for layer in network.layers:
        if "weight" not in layer.arrays:
            continue
        for name, dtype in (("weight", np.int8), ("bias", np.int32)):
            node = nodes[f"{layer.name}.{name}"]
            assert node.op_type == "DequantizeLinear"
            stored, scale = (found[operand] for operand in node.input[:2])
            assert stored.dtype == dtype
            assert scale.shape == (len(stored),) == (layer.output_shape[0],)
        assert np.array_equal(found[f"{layer.name}.weight.q"].flatten(), layer.arrays["weight"].flatten())


def test_every_tensor_of_the_contract_has_one_scale_and_one_zero_point(network, model):
    nodes, found = {node.name: node for node in model.graph.node}, constants(model)
    for layer in network.layers[:-1]:
        node = nodes[f"{layer.name}.q"]
        assert node.op_type == "QuantizeLinear"
        scale, zero = (found[operand] for operand in node.input[1:])
        assert (scale.shape, zero.shape, zero.dtype) == ((), (), np.int8)
        assert scale == np.float32(layer.output_scale)


def test_what_surrounds_a_map_is_the_zero_point_of_its_channel(network, model):
    nodes, found = {node.name: node for node in model.graph.node}, constants(model)
    for name, offset in (("stem", 128), ("dw", 0), ("down", 0)):
        node = nodes[nodes[f"{name}.acc"].input[0]]
        assert (node.op_type, node.attribute[0].name, node.attribute[0].i) == ("DequantizeLinear", "axis", 1)
        assert (found[node.input[2]].astype(int) - offset).tolist() == network.layer(name).arrays["pad"].tolist()


def test_any_number_of_pictures(model):
    session = onnxruntime.InferenceSession(to_bytes(model), providers=["CPUExecutionProvider"])
    batch = pictures(3)
    (together,) = session.run(None, {"image": batch})
    single = [session.run(None, {"image": batch[i : i + 1]})[0] for i in range(3)]
    assert together.shape == (3, 5)
    assert np.array_equal(together, np.concatenate(single))


def test_the_output_is_the_logits_times_their_scale(network, model):
    session = onnxruntime.InferenceSession(to_bytes(model), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": pictures(3)})
    counted = output / network.layers[-1].output_scale
    assert np.abs(counted).max() > 100
    assert np.allclose(counted, np.round(counted), atol=1e-2)
