"""onnxruntime beside the golden model, layer by layer."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from quant.artifact import Artifact
from quant.checkpoints import load
from quant.data import digits
from quant.networks.random_weights import random_network
from quant.networks.spec import spec
from quant.onnx.check import Check, check
from quant.onnx.model import to_onnx
from quant.ptq.options import Options
from quant.quantize import quantize
from sim.golden.model import GoldenModel
from tests.sim.golden.networks import pictures, small_network


def checked(artifact: Artifact, model: onnx.ModelProto, batch: np.ndarray, **rest) -> Check:
    golden = GoldenModel(artifact)
    return check(model, artifact, lambda part: golden.run(part).tensors, batch, **rest)


@pytest.mark.parametrize(("code_bits", "z_bits"), [(4, 8), (4, 15), (10, 8), (10, 15)])
@pytest.mark.parametrize("seed", range(4))
def test_no_layer_of_a_random_network_is_more_than_a_step_off(seed, code_bits, z_bits):
    """Coarse random constants round often, but by more than a step only where integers are rounded on the way.

    That is attention's Z, and LayerNorm's square root, which is coarse for a vector that hardly varies.
    """
    artifact = small_network(seed, code_bits, z_bits)
    found = checked(artifact, to_onnx(artifact), pictures(20))
    assert [row.layer for row in found.layers] == [layer.name for layer in artifact.layers]
    kinds = {layer.name: layer.kind for layer in artifact.layers}
    for row in found.layers:
        assert row.alone_equal > (0.95 if kinds[row.layer] == "attention" else 0.75), row
        assert row.alone_worst <= 1 or kinds[row.layer] in ("attention", "layernorm"), row


def test_the_digits_network():
    fast = Options(activations="minmax", weights="minmax", attention_pictures=4)
    artifact = quantize(load("digits"), digits().train[:8], fast)
    found = checked(artifact, to_onnx(artifact), digits().held_out[:60])
    assert found.images == 60
    assert found.agreement is not None
    assert found.agreement >= 0.95
    for row in found.layers:
        assert row.alone_worst <= 1 or row.layer.endswith(".att"), row
        assert row.alone_equal > 0.95, row


def test_a_segmentation_network():
    """Both enlargements are as near as other layers, although the contract rounds the coefficients of the one by 4."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (6, 3, 4, 6)).repeat(16, 2).repeat(16, 3)
    scenes = np.clip(patches + rng.integers(-30, 31, patches.shape), 0, 255).astype(np.uint8)
    fast = Options(activations="minmax", weights="minmax", attention_pictures=4)
    artifact = quantize(random_network(spec("b0-seg").at((64, 96)), scenes[:4]), scenes[:4], fast)
    assert {layer.attrs["factor"] for layer in artifact.layers if layer.kind == "upsample"} == {2, 4}
    model = to_onnx(artifact)
    assert [axis.dim_param or axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim] == [
        "pictures",
        19,
        8,
        12,
    ]
    found = checked(artifact, model, scenes)
    # Without training the largest logits are close to one another.
    assert found.agreement is not None
    assert found.agreement >= 0.9
    for row in found.layers:
        assert row.alone_worst <= 1 or row.layer.endswith(".att"), row
        assert row.alone_equal > 0.95, row


def test_a_layer_that_differs_is_found():
    artifact = small_network()
    model = to_onnx(artifact)
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "qkv.bias.q")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.int32(20000), bias.name))
    rows = {row.layer: row for row in checked(artifact, model, pictures(4)).layers}
    assert rows["qkv"].alone_worst > 1
    others = {name: row for name, row in rows.items() if name not in ("qkv", "att")}
    assert max(row.alone_worst for row in others.values()) <= 1


def test_a_picture_that_is_surrounded_by_its_own_zero():
    artifact = small_network()
    artifact.layers[0].arrays["pad"][:] = 0
    found = checked(artifact, to_onnx(artifact), pictures(4))
    assert found.layers[0].alone_worst <= 1
    assert found.layers[0].alone_equal > 0.75


def test_differences_are_counted_over_all_pictures():
    artifact = small_network()
    model, steps = to_onnx(artifact), []
    batch = pictures(20)
    found = checked(artifact, model, batch, progress=lambda *step: steps.append(step))
    assert steps == [("onnxruntime", done, 20) for done in (0, 8, 16, 20)]
    halves = [checked(artifact, model, part) for part in (batch[:10], batch[10:])]
    assert found.mean_difference == pytest.approx(np.mean([half.mean_difference for half in halves]))
    assert found.worst_difference == max(half.worst_difference for half in halves)
    assert found.agreement == pytest.approx(np.mean([half.agreement for half in halves]))
    for index, row in enumerate(found.layers):
        rows = [half.layers[index] for half in halves]
        assert row.together == pytest.approx(np.mean([one.together for one in rows]))
        assert row.alone_worst == max(one.alone_worst for one in rows)


def test_a_network_without_logits_has_no_agreement():
    whole = small_network()
    artifact = dataclasses.replace(whole, layers=whole.layers[:3], output=whole.layers[2].name)
    found = checked(artifact, to_onnx(artifact), pictures(4))
    assert found.agreement is None
    assert found.mean_difference < 1
