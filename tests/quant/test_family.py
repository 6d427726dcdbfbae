"""Every member of the family with random weights: what golden model and replay compute of its artifact is equal."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quant.artifact import Artifact
from quant.data import Pictures
from quant.networks.model import EfficientViT
from quant.networks.random_weights import random_network
from quant.networks.spec import NetworkSpec, spec
from quant.ptq.graph import fold, run
from quant.ptq.options import Options
from quant.quantize import quantize
from quant.replay import replay
from sim.golden.model import GoldenModel
from triovit.errors import UserError

FAST = Options(activations="minmax", weights="minmax", attention_pictures=2)


def scenes(count: int, resolution: tuple[int, int], seed: int = 0) -> Pictures:
    """Pictures of coloured patches with some noise."""
    rng = np.random.default_rng(seed)
    height, width = resolution
    patches = rng.integers(0, 256, (count, 3, height // 16, width // 16)).repeat(16, 2).repeat(16, 3)
    return np.clip(patches + rng.integers(-30, 31, patches.shape), 0, 255).astype(np.uint8)


def digits_of(count: int = 4) -> tuple[NetworkSpec, Pictures]:
    return spec("digits"), scenes(count, spec("digits").resolution)


def sqnr(exact: np.ndarray, found: np.ndarray) -> float:
    """Signal to noise in dB."""
    return 10 * float(np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        ("b0", (224, 224)),
        ("b0", (96, 160)),
        ("b0-seg", (128, 192)),
        ("b1", (224, 224)),
        ("b1", (288, 288)),
        ("b2", (224, 224)),
        ("b3", (224, 224)),
        pytest.param("b2", (256, 256), marks=pytest.mark.full),
        pytest.param("b3", (288, 288), marks=pytest.mark.full),
        pytest.param("b1-seg", (256, 512), marks=pytest.mark.full),
    ],
)
def test_from_random_weights_to_the_golden_model(name: str, resolution: tuple[int, int], tmp_path: Path) -> None:
    wanted, pictures = spec(name).at(resolution), scenes(4, resolution)
    network = random_network(wanted, pictures)
    quantize(network, pictures, FAST).save(tmp_path / "artifact")
    loaded = Artifact.load(tmp_path / "artifact")
    expected = replay(loaded, pictures[0])
    found = GoldenModel(loaded).run(pictures[:1]).tensors
    assert expected.keys() == found.keys()
    for tensor in expected:
        np.testing.assert_array_equal(found[tensor][0], expected[tensor], err_msg=tensor)
    # Random weights amplify errors from block to block; an unrelated output of this size would give -3 dB.
    exact = outputs(network, pictures[:1])[loaded.output][0].numpy()
    if loaded.layer(loaded.output).logits:
        real = found[loaded.output][0] * loaded.layer(loaded.output).output_scale
        assert sqnr(exact, real) > 0
    assert len(np.unique(found[loaded.output])) > 10


def outputs(network: EfficientViT, pictures: Pictures) -> dict[str, Tensor]:
    """Every layer's float output."""
    found: dict[str, Tensor] = {}
    run(network, fold(network), torch.from_numpy(pictures), lambda layer, output, _: found.__setitem__(layer.op.name, output))
    return found


def test_random_networks_are_reproducible() -> None:
    wanted, pictures = digits_of()
    before = torch.get_rng_state()
    one, two, other = random_network(wanted, pictures), random_network(wanted, pictures), random_network(wanted, pictures, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    assert not torch.equal(one.backbone.input_stem.op_list[0].conv.weight, other.backbone.input_stem.op_list[0].conv.weight)
    assert not one.training
    assert not any(value.requires_grad for value in one.parameters())
    assert {module.momentum for module in one.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
    assert not any(module._forward_hooks for module in one.modules())


@pytest.mark.parametrize("name", ["digits", "b0", "b0-seg"])
def test_random_networks_keep_activations_in_scale(name: str) -> None:
    wanted = spec(name).at((64, 64)) if name != "digits" else spec(name)
    pictures = scenes(8, wanted.resolution)
    network = random_network(wanted, pictures)
    for layer, output in outputs(network, pictures).items():
        assert 0.02 < float(output.std()) < 5, layer
    assert 0.02 < float(network(network.normalise(torch.from_numpy(pictures))).std()) < 5
    # The statistics are those of these very pictures.
    inside = network.backbone.input_stem.op_list[0].conv(network.normalise(torch.from_numpy(pictures)))
    torch.testing.assert_close(
        network.backbone.input_stem.op_list[0].norm.running_mean, inside.mean((0, 2, 3)), atol=1e-4, rtol=1e-4
    )


def test_random_networks_need_two_pictures() -> None:
    wanted, pictures = digits_of(1)
    with pytest.raises(UserError) as caught:
        random_network(wanted, pictures)
    assert str(caught.value) == "pictures: is 1, and a random network needs the variance of more; give at least 2"
    with pytest.raises(UserError) as caught:
        random_network(replace(wanted, resolution=(64, 64)), pictures)
    assert str(caught.value) == "pictures: are uint8 [1, 3, 32, 32], and must be uint8 [N, 3, 64, 64]; convert them"
