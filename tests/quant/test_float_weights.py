"""The float network out of an artifact is the one that went in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from quant.artifact import FLOAT, MANIFEST, Artifact
from quant.data import Digits
from quant.float_weights import float_settings, float_weights, restore
from quant.networks.model import EfficientViT
from quant.quantize import quantize
from triovit.errors import UserError

FIELDS = ("norm_eps", "attention_eps", "mean", "std")


def test_weights_are_a_copy(network: EfficientViT) -> None:
    found = float_weights(network)
    state = network.state_dict()
    assert set(found) == {name for name in state if not name.endswith("num_batches_tracked")}
    assert all(values.dtype == np.float32 and np.array_equal(values, state[name].numpy()) for name, values in found.items())
    next(iter(found.values()))[:] = 7
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())


def test_through_an_artifact(artifact: Artifact, network: EfficientViT, pictures: Digits, tmp_path: Path) -> None:
    artifact.save(tmp_path / "a")
    restored = restore(Artifact.load(tmp_path / "a"), tmp_path / "a")
    given = network.normalise(torch.from_numpy(pictures.held_out[:8]))
    assert restored.spec == network.spec
    assert not restored.training
    assert torch.equal(restored(given), network(given))


def test_what_tensors_do_not_tell(network: EfficientViT, pictures: Digits, tmp_path: Path) -> None:
    spec = replace(network.spec, norm_eps=1e-3, attention_eps=1e-2, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    other = EfficientViT(spec)
    other.load_state_dict(network.state_dict())
    quantize(other.eval(), pictures.train[:4]).save(tmp_path / "a")
    recorded = json.loads((tmp_path / "a" / MANIFEST).read_text())["network"]
    assert {name: recorded[name] for name in FIELDS} == float_settings(spec)
    restored = restore(Artifact.load(tmp_path / "a"), tmp_path / "a")
    given = torch.from_numpy(pictures.held_out[:8])
    assert restored.spec == spec
    assert torch.equal(restored(restored.normalise(given)), other(other.normalise(given)))


def test_tensors_of_something_else(artifact: Artifact) -> None:
    broken = replace(artifact, float_weights={"x": np.ones(3, np.float32)})
    with pytest.raises(UserError) as caught:
        restore(broken, Path("a"))
    assert str(caught.value) == (
        f"a/{FLOAT}: is no EfficientViT B0..B3 (tensor x has no place in one); give an EfficientViT's weights"
    )
