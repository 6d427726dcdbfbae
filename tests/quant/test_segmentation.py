"""A segmentation network as integers from the picture to the logits: the head with its upsampling."""

from pathlib import Path

import numpy as np
import pytest
import torch

from quant.artifact import Artifact
from quant.data import Pictures
from quant.networks.model import EfficientViT
from quant.networks.random_weights import random_network
from quant.networks.spec import spec
from quant.ptq.options import Options
from quant.quantize import quantize
from quant.replay import replay
from sim.golden.model import GoldenModel

SIZE = (64, 96)
HEAD = ["in4", "up4", "in3", "up3", "in2", "0.MB.pw1", "0.MB.dw", "0.MB.pw2", "out1", "out2"]


@pytest.fixture(scope="module")
def scenes() -> Pictures:
    """Coloured patches with some noise."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (4, 3, SIZE[0] // 16, SIZE[1] // 16)).repeat(16, 2).repeat(16, 3)
    return np.clip(patches + rng.integers(-30, 31, patches.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def float_network(scenes: Pictures) -> EfficientViT:
    return random_network(spec("b0-seg").at(SIZE), scenes)


@pytest.fixture(scope="module", params=[(4, 8), (10, 15)])
def artifact(request: pytest.FixtureRequest, float_network: EfficientViT, scenes: Pictures) -> Artifact:
    code_bits, z_bits = request.param
    options = Options(activations="minmax", weights="minmax", attention_pictures=4, code_bits=code_bits, z_bits=z_bits)
    return quantize(float_network, scenes, options)


def test_the_head_s_layers(artifact: Artifact) -> None:
    made = [layer for layer in artifact.layers if layer.name.startswith("head.")]
    assert [layer.name for layer in made] == [f"head.{name}" for name in HEAD]
    kinds = {layer.name: layer.kind for layer in made}
    assert [name for name, kind in kinds.items() if kind == "upsample"] == ["head.up4", "head.up3"]
    assert [artifact.layer(name).attrs for name in ("head.up4", "head.up3")] == [{"factor": 4}, {"factor": 2}]
    # The sum of the three stages: the smallest is enlarged first and each next one is added to it.
    residuals = {layer.name: layer.post.residual.tensor for layer in made if layer.post and layer.post.residual}
    assert residuals == {"head.up3": "head.up4", "head.in2": "head.up3", "head.0.MB.pw2": "head.in2"}
    assert (artifact.network["task"], artifact.output) == ("segmentation", "head.out2")
    assert artifact.layer("head.out2").output_shape == (19, SIZE[0] // 8, SIZE[1] // 8)
    assert [layer.name for layer in artifact.layers if layer.logits] == ["head.out2"]


def test_golden_model_and_replay_are_equal_layer_by_layer(artifact: Artifact, scenes: Pictures) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1, 3, *SIZE)).astype(np.uint8)
    batch = np.concatenate([scenes[:1], noise])
    found = GoldenModel(artifact).run(batch).tensors
    for index, picture in enumerate(batch):
        expected = replay(artifact, picture)
        assert expected.keys() == found.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name][index], expected[name], err_msg=name)
            assert found[name].dtype == expected[name].dtype, name
    assert found["head.out2"].dtype == np.int16


def test_what_is_loaded_computes_what_was_saved(artifact: Artifact, scenes: Pictures, tmp_path: Path) -> None:
    artifact.save(tmp_path / "seg")
    loaded = Artifact.load(tmp_path / "seg")
    assert loaded.layers[-1].attrs == {"groups": 1, "logits": True}
    assert [layer.attrs for layer in loaded.layers] == [layer.attrs for layer in artifact.layers]
    wanted, found = (GoldenModel(one).run(scenes[:2]).output for one in (artifact, loaded))
    np.testing.assert_array_equal(found, wanted)


def test_the_integers_stand_for_the_float_network(artifact: Artifact, float_network: EfficientViT, scenes: Pictures) -> None:
    exact = float_network(float_network.normalise(torch.from_numpy(scenes))).numpy()
    found = GoldenModel(artifact).run(scenes).output * artifact.layer(artifact.output).output_scale
    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 15
