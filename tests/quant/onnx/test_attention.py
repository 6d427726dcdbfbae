"""Attention's divisors and rounded sums as ONNX nodes, against the golden model's integers."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from quant.contract import FRACTION_BITS, QUOTIENT_SHIFT, RECIPROCALS
from quant.layer import Layer
from quant.onnx.attention import divisors
from quant.onnx.graph import Graph
from quant.onnx.model import IR_VERSION, OPSET
from sim.golden.arithmetic import log2_code

#: All small ones, and around every bound of a code; beyond them float32 products no longer tell divisors apart.
_BOUNDS = (np.arange(64, 128)[:, None] << np.arange(15)).ravel()
DIVISORS = np.unique(np.concatenate([np.arange(1 << 13), *(_BOUNDS + n for n in (-1, 0, 1))]))
LEAST = np.array([0, 3, 9], np.int32)
#: A real product's unit: no power of two, so that products are rounded as in a network.
UNIT = np.array([0.37, 1.9e-5, 712.3])


def outputs(code_bits: int) -> dict[str, np.ndarray]:
    """The codes and what they stand for, ``[1, 3, 1, len(DIVISORS)]``, of every divisor in units of ``UNIT``."""
    graph, attrs = Graph(), {"heads": 3, "dim": 4, "code_bits": code_bits}
    layer = Layer("att", "attention", ("qkv",), (12, 1, 1), 1.0, attrs, None, {"div_min": LEAST})
    result = divisors(graph, layer, "product", UNIT)
    shape = [1, 3, 1, len(DIVISORS)]
    products = (DIVISORS * UNIT[:, None]).astype(np.float32)[None, :, None]
    found = run(graph, {"product": products}, {"att.code": shape, result: shape})
    return {"code": found["att.code"], "divisor": found[result]}


def run(graph: Graph, inputs: dict[str, np.ndarray], shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """What onnxruntime makes of float inputs: the tensors of ``shapes``."""
    made = helper.make_graph(
        graph.nodes,
        "part",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(x.shape)) for name, x in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        list(graph.constants.values()),
    )
    model = helper.make_model(made, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(shapes, session.run(None, inputs), strict=True))


@pytest.mark.parametrize("bits", [8, 15])
def test_sums_are_rounded_and_saturate(bits):
    graph, steps, top = Graph(), np.array([0.5, 0.25]), 1 << (bits - 1)
    whole = np.array([0, 1, -1, top - 2, top - 1, top, 3 * top, -top + 1, -top, -top - 1, -3 * top])
    shape = [1, 2, 3, len(whole)]
    x = (whole + np.array([-0.375, 0, 0.375])[:, None]) * steps[:, None, None]
    result = graph.requantized("x", "z", steps, bits)
    values = run(graph, {"x": x[None].astype(np.float32)}, {result: shape})[result]
    expected = np.clip(whole, -top, top - 1) * steps[:, None, None]
    assert np.array_equal(values, np.broadcast_to(expected[None, :, :, :], shape))


@pytest.mark.parametrize("code_bits", [4, 10])
def test_every_divisor_has_the_code_of_the_contract(code_bits):
    found = outputs(code_bits)
    expected = log2_code(DIVISORS[None, :], LEAST[:, None], code_bits)
    assert np.array_equal(found["code"][0, :, 0], expected)
    assert len(np.unique(expected)) == 1 << code_bits


def test_a_whole_code_stands_for_a_power_of_two():
    found = outputs(4)
    assert np.array_equal(found["divisor"], np.exp2(found["code"]))


def test_a_fine_code_stands_for_its_reciprocal():
    found = outputs(10)
    code = found["code"].astype(int)
    reciprocal = np.array(RECIPROCALS)[code % (1 << FRACTION_BITS)]
    expected = (2.0 ** (code // (1 << FRACTION_BITS)) * 2**QUOTIENT_SHIFT / reciprocal).astype(np.float32)
    assert np.array_equal(found["divisor"], expected)
