"""The quantizer as a whole: determinism, remedies one by one, refusals, the real network."""

from dataclasses import replace

import pytest
import torch

from quant.artifact import Artifact
from quant.artifact_rules import ACC_LIMIT, accumulator_bound
from quant.checkpoints import load
from quant.data import Digits, image_folder
from quant.networks.model import EfficientViT
from quant.ptq.options import Options
from quant.quantize import quantize
from quant.replay import replay, score
from tests.quant.conftest import shared
from triovit.errors import UserError


def test_the_same_pictures_give_the_same_artifact(network: EfficientViT, pictures: Digits, tmp_path: object) -> None:
    for name in ("a", "b"):
        quantize(network, pictures.train[:9], Options(activations="minmax")).save(f"{tmp_path}/{name}")
    for file in ("manifest.json", "tensors.safetensors"):
        with open(f"{tmp_path}/a/{file}", "rb") as one, open(f"{tmp_path}/b/{file}", "rb") as two:
            assert one.read() == two.read()


def test_bounds_are_proved(artifact: Artifact) -> None:
    shapes = {artifact.input_name: artifact.input_shape, **{layer.name: layer.output_shape for layer in artifact.layers}}
    for layer in artifact.layers:
        assert accumulator_bound(layer, [shapes[name] for name in layer.inputs]).max() < ACC_LIMIT


def test_pads_and_zero_points(artifact: Artifact) -> None:
    assert artifact.layer("stem.0").arrays["pad"].tolist() == [-4, -12, -24]
    for layer in artifact.layers:
        if layer.kind == "dw":
            source = artifact.layer(layer.inputs[0])
            assert layer.arrays["pad"].tolist() == source.arrays["zero"].tolist()
        for part in ("qkv", "agg.gpw"):
            if layer.name.endswith(part):
                assert not layer.arrays["zero"].any()


def code_ranges(report: dict) -> list[tuple[float, float]]:
    """The lowest and the highest value of every channel as codes, not rounded."""
    return [
        (low / report["scale"], high / report["scale"])
        for low, high in zip(report["low_after"], report["high_after"], strict=True)
    ]


def test_the_report(artifact: Artifact) -> None:
    remedies = artifact.calibration["remedies"]
    migrated, shifted = remedies["S2.1.MB.pw1"], remedies["S2.1.MB.dw"]
    assert (migrated["remedy"], migrated["applied"], shifted["remedy"], shifted["applied"]) == (
        "migration",
        True,
        "shifting",
        True,
    )

    def spread(values: list[float]) -> float:
        return max(values) / (sum(values) / len(values))

    assert spread(migrated["high_after"]) < spread(migrated["high_before"])
    # A channel that needs all codes has its low end, where hardswish's outputs crowd, at the first one.
    ranges = code_ranges(shifted)
    assert min(low for low, _ in ranges) >= -128.5
    full = [low for low, high in ranges if high - low > 254]
    assert full
    assert max(abs(low + 128) for low in full) <= 0.5 + 1e-3
    # Each needs another step, by more than a little.
    steps = artifact.calibration["factors"]["S2.1.MB.dw"]
    assert max(steps) > 1.5 * min(steps)
    assert artifact.float_score == {"score": artifact.float_score["score"], "metric": "top1", "images": 360}


def test_without_equalization_shifted_channels_share_a_step(network: EfficientViT, pictures: Digits) -> None:
    made = quantize(network, pictures.train[:8], Options(activations="minmax", equalization=False))
    assert "S2.1.MB.dw" not in made.calibration["factors"]
    ranges = code_ranges(made.calibration["remedies"]["S2.1.MB.dw"])
    # The zero point is whole, so a channel is centred to half a step; the widest one needs all codes.
    assert max(abs(low + high) / 2 for low, high in ranges) <= 0.5 + 1e-3
    assert max(high - low for low, high in ranges) == pytest.approx(254, abs=1e-2)


@pytest.mark.parametrize(
    "change",
    [
        {"migration": False},
        {"migration": False, "equalization": False},
        {"migration": False, "shifting": False, "equalization": False, "code_bits": 4},
        {"shifting": False},
        {"log2_divisors": False},
        {"bias_correction": False},
        {"code_bits": 4},
        {"z_bits": 8},
        {"equalization": False},
        {"activations": "percentile"},
        {"activations": "ema"},
        {"weights": "minmax"},
    ],
)
def test_every_setting_gives_a_sound_artifact(network: EfficientViT, pictures: Digits, artifact: Artifact, change: dict) -> None:
    options = replace(Options(activations="minmax"), **change)
    made = quantize(network, pictures.train[:32], options)
    made.check()
    assert made.quantization == options.to_dict()
    assert score(made, pictures.held_out[:100], pictures.held_out_labels[:100]) >= 0.8
    if not options.migration and options.equalization:
        assert made.calibration["remedies"]["S1.0.MB.pw1"]["encoding"] == "equalization"
    elif not options.migration:
        assert len({int(three) for three in made.layer("S1.0.MB.pw1").arrays["three"]}) == 1
    if not options.shifting and options.equalization:
        assert made.calibration["remedies"]["S1.0.MB.dw"]["encoding"] == "equalization"
    elif not options.shifting:
        assert len({int(zero) for zero in made.layer("S1.0.MB.dw").arrays["zero"]}) == 1
    attrs = made.layer("S2.1.MLA.att").attrs
    assert (attrs["code_bits"], attrs["z_bits"]) == (options.code_bits, options.z_bits)
    if not options.log2_divisors:
        assert not replay(made, pictures.held_out[0])["S2.1.MLA.att.code"].any()


def test_progress_and_mode(network: EfficientViT, pictures: Digits) -> None:
    calls: list[tuple[str, int, int]] = []
    network.train()
    quantize(network, pictures.train[:9], Options(activations="minmax"), progress=lambda *call: calls.append(call))
    assert network.training
    network.eval()
    assert calls[:2] == [("calibrating", 8, 9), ("calibrating", 9, 9)]
    assert calls[-1][0] == "exporting"
    assert calls[-1][1] == calls[-1][2]


def test_refusals(network: EfficientViT, pictures: Digits) -> None:
    with pytest.raises(UserError) as caught:
        quantize(network, pictures.train[:0])
    assert str(caught.value) == "pictures: there are none; give at least one"
    with pytest.raises(UserError) as caught:
        quantize(network, pictures.train[:2], scored=(pictures.train[:2], pictures.train_labels[:3]))
    assert str(caught.value) == "labels: are 3 for 2 pictures; give one a picture"


def test_an_accumulator_that_does_not_fit(network: EfficientViT, pictures: Digits) -> None:
    broken = EfficientViT(network.spec)
    broken.load_state_dict(network.state_dict())
    with torch.no_grad():
        broken.head.op_list[2].norm.bias[3] = 1e9
        broken.head.op_list[2].norm.weight.mul_(1e-9)
    with pytest.raises(UserError, match=r"^(layer head\.ln|digits: layer head\.ln): .*; .*$"):
        quantize(broken.eval(), pictures.train[:4], Options(activations="minmax"))


def test_imagenette_keeps_its_score() -> None:
    network, resolution = load(shared("models/efficientvit_b0_imagenette.pt")), (224, 224)
    calibration, _, _ = image_folder(shared("data/imagenette/calib"), resolution, 32)
    pictures, labels, _ = image_folder(shared("data/imagenette/val"), resolution, 50)
    assert labels is not None
    made = quantize(network, calibration, scored=(pictures, labels))
    assert score(made, pictures, labels) >= made.float_score["score"] - 0.06
