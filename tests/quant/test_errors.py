"""The report of quantization errors: by hand, on the built-in network, with planted damage."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import quant.quantize
from quant.artifact import Artifact
from quant.data import Digits
from quant.networks.model import EfficientViT
from quant.ptq.encoding import Encoding
from quant.ptq.errors import Errors, Labelled, Noise, quantization_errors
from quant.ptq.fake import OUTPUT, FakeNetwork
from quant.ptq.options import Options
from quant.quantize import quantize
from sim.golden.model import GoldenModel
from sim.scoring.scores import Top1

IMAGES = 24


def of(network: EfficientViT, artifact: Artifact, pictures: NDArray[np.uint8], **settings: Any) -> Errors:
    golden = GoldenModel(artifact)

    def integers(part: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        return golden.run(part).tensors

    return quantization_errors(FakeNetwork(network, artifact), integers, pictures, **settings)


@pytest.fixture(scope="module")
def errors(network: EfficientViT, artifact: Artifact, pictures: Digits) -> Errors:
    return of(
        network, artifact, pictures.held_out[:IMAGES], labelled=Labelled(pictures.held_out_labels[:IMAGES], Top1), effects=True
    )


def sqnr(right: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(10 * np.log10((right**2).sum() / ((right - other) ** 2).sum()))


def test_noise_by_hand() -> None:
    noise = Noise()
    noise.add(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]))
    assert noise.sqnr == pytest.approx(20.0)
    noise.add(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1.5]))
    assert noise.sqnr == pytest.approx(10.0)


def test_noise_without_error_and_without_signal() -> None:
    noise = Noise()
    noise.add(torch.zeros(2), torch.zeros(2))
    assert noise.sqnr == math.inf
    noise.add(torch.zeros(2), torch.ones(2))
    assert noise.sqnr == -math.inf


def test_the_first_layer_by_hand(network: EfficientViT, artifact: Artifact, pictures: Digits, errors: Errors) -> None:
    given, layer = pictures.held_out[:IMAGES], artifact.layer("stem.0")
    with torch.no_grad():
        right = network.backbone.input_stem.op_list[0](network.normalise(torch.from_numpy(given))).double().numpy()
    step = layer.output_scale * np.array(artifact.calibration["factors"].get("stem.0", [1.0] * right.shape[1]))
    step, zero = (np.asarray(values, np.float64).reshape(-1, 1, 1) for values in (step, layer.arrays["zero"]))
    rounded = (np.clip(np.round(right / step) + zero, -128, 127) - zero) * step
    whole = (GoldenModel(artifact).run(given).tensors["stem.0"] - zero) * step
    found = {one.part: one for one in errors.quantizers if one.layer == "stem.0"}
    assert found["output"].alone == pytest.approx(sqnr(right, rounded), abs=0.01)
    assert found["output"].accumulated == pytest.approx(sqnr(right, whole), abs=0.01)
    assert found["weight"].accumulated is None
    assert found["weight"].alone > 30


def test_what_is_accumulated_is_worse_than_what_is_alone(errors: Errors) -> None:
    outputs = [one for one in errors.quantizers if one.part == OUTPUT]
    assert all(one.accumulated is not None and one.accumulated < one.alone + 0.5 for one in outputs)


def test_the_integer_networks_output(errors: Errors, artifact: Artifact, pictures: Digits) -> None:
    last = next(one for one in errors.quantizers if (one.layer, one.part) == (artifact.output, OUTPUT))
    assert errors.integer.sqnr == last.accumulated
    classes = GoldenModel(artifact).run(pictures.held_out[:IMAGES]).output.argmax(1)
    assert errors.integer.score == float((classes == pictures.held_out_labels[:IMAGES]).mean())
    assert errors.float_score is not None
    assert errors.integer.score_change == errors.integer.score - errors.float_score


def test_effects_are_of_every_quantizer_and_in_order(errors: Errors) -> None:
    assert errors.effects is not None
    names = {(one.layer, one.part) for one in errors.quantizers}
    assert {(one.layer, one.part) for one in errors.effects} == names
    assert len(errors.effects) == len(names)
    values = [one.effect.sqnr for one in errors.effects]
    assert values == sorted(values)
    assert all(one.effect.score is not None and 0 <= one.effect.agreement <= 1 for one in errors.effects)
    # Each alone does less than all together.
    assert errors.integer.sqnr < values[0] + 1


def test_batches_change_nothing(
    network: EfficientViT, artifact: Artifact, pictures: Digits, errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int, int]] = []
    monkeypatch.setattr("quant.ptq.errors._BATCH", 7)
    found = of(network, artifact, pictures.held_out[:IMAGES], progress=lambda *words: calls.append(words))
    for one, other in zip(found.quantizers, errors.quantizers, strict=True):
        assert (one.layer, one.part) == (other.layer, other.part)
        assert one.alone == pytest.approx(other.alone, abs=0.01)
    assert found.effects is None
    assert found.integer.score is found.float_score is None
    assert calls == [("errors", done, IMAGES) for done in (0, 7, 14, 21, 24)]


@pytest.mark.parametrize("damaged", ["stem.0", "S1.0.MB.pw2", "S2.1.MLA.qkv", "S3.1.MLA.proj", "head.fc1"])
def test_planted_damage_is_the_most_harmful(
    network: EfficientViT, pictures: Digits, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    encode = quant.quantize._encode

    def coarse(*words: Any) -> dict[str, Encoding]:
        encodings = encode(*words)
        encodings[damaged] = replace(encodings[damaged], scale=10 * encodings[damaged].scale)
        return encodings

    monkeypatch.setattr(quant.quantize, "_encode", coarse)
    artifact = quantize(network, pictures.train[:16], Options(activations="minmax", output_effect=False))
    # Of pictures that calibration saw nothing saturates with whole ranges, so that only rounding counts.
    found = of(network, artifact, pictures.train[:16], effects=True)
    assert found.effects is not None
    worst, second = found.effects[:2]
    assert (worst.layer, worst.part) == (damaged, OUTPUT)
    assert worst.effect.sqnr < second.effect.sqnr - 5
    alone = {one.layer: one.alone for one in found.quantizers if one.part == OUTPUT}
    assert min(alone, key=alone.__getitem__) == damaged
