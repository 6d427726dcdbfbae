"""The float network with switched quantizers: off, one by one, all together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from quant.artifact import Artifact
from quant.checkpoints import load
from quant.data import Digits
from quant.networks.model import EfficientViT
from quant.ptq.codings import Coding
from quant.ptq.fake import CODE, KSUM, OUTPUT, WEIGHT, FakeNetwork, Quantizer, Z
from quant.ptq.graph import FloatLayer, run
from quant.ptq.options import Options
from quant.quantize import quantize
from sim.golden.model import GoldenModel
from triovit.errors import UserError

COUNT = 4


@pytest.fixture(scope="module")
def fake(network: EfficientViT, artifact: Artifact) -> FakeNetwork:
    return FakeNetwork(network, artifact)


@pytest.fixture(scope="module")
def batch(pictures: Digits) -> Tensor:
    return torch.from_numpy(pictures.held_out[:COUNT])


@pytest.fixture(scope="module")
def floats(fake: FakeNetwork, batch: Tensor) -> dict[str, Tensor]:
    return fake.run(batch)


def reached(fake: FakeNetwork, start: str) -> set[str]:
    """The layers that a layer's tensor reaches, itself included."""
    found = {start}
    for layer in fake.layers:
        if found & {*layer.op.inputs, layer.op.residual}:
            found.add(layer.op.name)
    return found


def test_rounding_by_hand() -> None:
    coding = Coding(torch.tensor([0.5, 2.0], dtype=torch.float64), torch.tensor([-100.0, 10.0], dtype=torch.float64))
    real = torch.tensor([[[0.2, 0.3, 1000.0, -20.0], [0.9, -3.1, 1000.0, -1000.0]]])
    wanted = [[[0.0, 0.5, 113.5, -14.0], [0.0, -4.0, 234.0, -276.0]]]
    assert coding.rounded(real).tolist() == wanted
    assert coding.saturated(real)[0, :, 2:].tolist() == [[113.5, -14.0], [234.0, -276.0]]
    assert coding.real(torch.tensor([[[-100, -99], [10, 127]]])).tolist() == [[[0.0, 0.5], [0.0, 234.0]]]


def test_nothing_active_is_the_float_network(
    network: EfficientViT, fake: FakeNetwork, batch: Tensor, floats: dict[str, Tensor]
) -> None:
    seen: dict[str, Tensor] = {}

    def visit(layer: FloatLayer, output: Tensor, branch: Tensor) -> None:
        seen[layer.op.name] = output

    run(network, fake.layers, batch, visit)
    assert set(floats) == {"image", *seen}
    for name, output in seen.items():
        assert torch.equal(floats[name], output)
    torch.testing.assert_close(floats[fake.artifact.output], network(network.normalise(batch)), rtol=1e-4, atol=1e-4)


def test_every_layer_has_its_quantizers(fake: FakeNetwork) -> None:
    parts: dict[str, list[str]] = {}
    for quantizer in fake.quantizers:
        parts.setdefault(quantizer.layer, []).append(quantizer.part)
    assert list(parts) == [layer.name for layer in fake.artifact.layers]
    for layer in fake.artifact.layers:
        inner = {"attention": [Z, KSUM, CODE], "pool": []}.get(layer.kind, [WEIGHT])
        assert parts[layer.name] == [*inner, OUTPUT]


@pytest.mark.parametrize(
    "quantizer",
    [
        Quantizer("stem.0", WEIGHT),
        Quantizer("S1.0.MB.pw2", OUTPUT),
        Quantizer("S2.1.MLA.qkv", OUTPUT),
        Quantizer("S3.1.MLA.att", Z),
        Quantizer("S3.1.MLA.att", KSUM),
        Quantizer("S3.1.MLA.att", CODE),
        Quantizer("S3.1.MB.pw1", WEIGHT),
        Quantizer("head.ln", WEIGHT),
        Quantizer("head.fc2", OUTPUT),
    ],
    ids=lambda quantizer: f"{quantizer.layer}-{quantizer.part}",
)
def test_one_quantizer_acts_downstream_only(
    fake: FakeNetwork, batch: Tensor, floats: dict[str, Tensor], quantizer: Quantizer
) -> None:
    tensors = fake.run(batch, [quantizer])
    differing = {name for name, tensor in tensors.items() if not torch.equal(tensor, floats[name])}
    assert quantizer.layer in differing
    assert differing <= reached(fake, quantizer.layer)
    assert fake.artifact.output in differing
    shortcut = fake.run(batch, [quantizer], given=floats, keep_all=False)
    assert list(shortcut) == [fake.artifact.output]
    assert torch.equal(shortcut[fake.artifact.output], tensors[fake.artifact.output])
    assert torch.equal(fake.rounded(quantizer, floats), tensors[quantizer.layer])


@pytest.mark.parametrize(("code_bits", "z_bits"), [(4, 8), (4, 15), (10, 8), (10, 15)])
def test_given_the_integers_inputs_every_layer_makes_the_integers(
    network: EfficientViT, pictures: Digits, batch: Tensor, code_bits: int, z_bits: int
) -> None:
    artifact = quantize(network, pictures.train[:16], Options(activations="minmax", code_bits=code_bits, z_bits=z_bits))
    fake = FakeNetwork(network, artifact)
    whole = GoldenModel(artifact).run(batch.numpy()).tensors
    real = {name: coding.real(torch.from_numpy(whole[name])) for name, coding in fake.codings.items() if name in whole}
    real["image"] = network.normalise(batch)
    for layer in fake.layers:
        name = layer.op.name
        active = [quantizer for quantizer in fake.quantizers if quantizer.layer == name]
        made = fake.run(batch, active, given=real, keep_all=True)[name]
        steps = fake.codings[name].steps.float().reshape(1, -1, *[1] * (made.ndim - 2))
        steps_apart = ((made - real[name]) / steps).abs()
        # Post-processing rounds its 16-bit intermediate, which may turn a value near the middle between two steps.
        assert float(steps_apart.max()) < 1.01, name
        assert float((steps_apart < 0.5).float().mean()) > 0.95, name


def test_other_networks_and_artifacts_without_factors_are_refused(network: EfficientViT, artifact: Artifact) -> None:
    old = replace(artifact, calibration={name: value for name, value in artifact.calibration.items() if name != "factors"})
    with pytest.raises(UserError) as caught:
        FakeNetwork(network, old)
    assert str(caught.value) == (
        "artifact: field calibration.factors is missing, and real values need it; quantize the network again"
    )
    with pytest.raises(UserError) as caught:
        FakeNetwork(load("digits", (64, 64)), artifact, "made")
    assert str(caught.value) == (
        "made: the float network's layers are not those of the integer network; quantize the network again"
    )


def test_factors_are_those_of_the_integers(artifact: Artifact, fake: FakeNetwork, floats: dict[str, Tensor]) -> None:
    factors = artifact.calibration["factors"]
    assert set(factors) <= {layer.name for layer in artifact.layers if not layer.logits}
    for name, values in factors.items():
        assert len(values) == artifact.layer(name).output_shape[0]
        assert len(set(values)) > 1
        np.testing.assert_allclose(fake.codings[name].steps, artifact.layer(name).output_scale * np.array(values))


def test_ranges_after_the_remedies_are_those_of_the_integers(artifact: Artifact) -> None:
    kinds = set()
    for name, seen in artifact.calibration["remedies"].items():
        layer = artifact.layer(name)
        kinds.add((seen["remedy"], seen["encoding"], seen["applied"]))
        factors = np.array(artifact.calibration["factors"][name])
        moved = layer.output_scale * layer.arrays["zero"]
        for side in ("low", "high"):
            np.testing.assert_allclose(
                factors * (np.array(seen[f"{side}_after"]) - moved), seen[f"{side}_before"], rtol=1e-3, atol=1e-4
            )
    assert kinds == {("migration", "equalization", True), ("shifting", "shifting", True)}
