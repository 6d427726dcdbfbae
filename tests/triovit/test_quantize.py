"""``triovit quantize`` and ``triovit evaluate``."""

import json
import re
import shutil

import pytest

from quant.reconstruct.state import State

FAST = ("--activations", "minmax", "--weights", "minmax")


def test_evaluate_sets_both_networks_side_by_side(triovit, artifact_path):
    result = triovit("evaluate", artifact_path, "--data", "digits", "--limit", "48", "--model", "digits", "--json")
    assert result.code == 0, result.err
    found = result.document
    assert (found["metric"], found["images"]) == ("top1", 48)
    assert found["int_score"] >= 0.9
    assert found["float_score"] >= 0.9
    assert found["agreement"] >= 0.9
    assert "evaluate: step 48/48, done in " in result.err


def test_evaluate_as_text(triovit, artifact_path):
    lines = triovit("evaluate", artifact_path, "--data", "digits", "--limit", "8").out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "metric",
        "pictures",
        "integer network",
        "float network",
        "same class",
        "pictures a second",
    ]


def test_float_score_of_other_pictures_says_so(triovit, tmp_path):
    assert (
        triovit("quantize", "digits", "--calib", "digits", "--pictures", 4, "--no-float", "-o", tmp_path / "a", *FAST).code == 0
    )
    assert not (tmp_path / "a" / "float.safetensors").exists()
    document = triovit("evaluate", tmp_path / "a", "--data", "digits", "--limit", "8", "--json").document
    assert document["float_score"] >= 0.97
    assert document["agreement"] is None
    lines = triovit("evaluate", tmp_path / "a", "--data", "digits", "--limit", "8").out.splitlines()
    assert re.fullmatch(r"float network      9\d\.\d\d% \(of 360 pictures, when it was quantized\)", lines[3])
    lines = triovit("evaluate", tmp_path / "a", "--data", "digits").out.splitlines()
    assert re.fullmatch(r"float network      9\d\.\d\d%", lines[3])


def test_quantize_writes_an_artifact(triovit, tmp_path):
    (tmp_path / "calibration").mkdir()
    from PIL import Image

    from quant.data import digits

    for number, picture in enumerate(digits().train[:4]):
        Image.fromarray(picture.transpose(1, 2, 0)).save(tmp_path / "calibration" / f"{number}.png")
    result = triovit(
        "quantize", "digits", "--calib", tmp_path / "calibration", "-o", tmp_path / "a", "--no-shifting", *FAST, "--json"
    )
    assert result.code == 0, result.err
    assert (result.document["network"], result.document["pictures"]) == ("digits", 4)
    assert result.document["float"]["score"] >= 0.97
    settings = result.document["settings"]
    assert (settings["shifting"], settings["code_bits"], settings["z_bits"], settings["equalization"]) == (False, 10, 15, True)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "float.safetensors",
        "manifest.json",
        "tensors.safetensors",
    ]


def test_codes_and_equalization(triovit, tmp_path):
    from quant.artifact import Artifact

    words = ("quantize", "digits", "--calib", "digits", "--pictures", 4, "-o", tmp_path / "a", *FAST)
    result = triovit(*words, "--code-bits", 4, "--z-bits", 8, "--no-equalization", "--json")
    assert result.code == 0, result.err
    settings = result.document["settings"]
    assert (settings["code_bits"], settings["z_bits"], settings["equalization"]) == (4, 8, False)
    made = Artifact.load(tmp_path / "a")
    widths = {(layer.attrs["code_bits"], layer.attrs["z_bits"]) for layer in made.layers if layer.kind == "attention"}
    assert widths == {(4, 8)}
    assert settings.items() <= made.quantization.items()
    assert "equalization" not in {entry["encoding"] for entry in made.calibration["remedies"].values()}
    for option, value, choices in (("--code-bits", "5", "'4', '10'"), ("--z-bits", "16", "'8', '15'")):
        result = triovit(*words, option, value)
        assert (result.code, result.err) == (
            2,
            f"error: Invalid value for '{option}': '{value}' is not one of {choices}; see 'triovit quantize --help'\n",
        )


def test_failed_quantization_leaves_nothing(triovit, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    result = triovit("quantize", "digits", "--calib", tmp_path, "-o", tmp_path / "a")
    assert result.code == 2
    assert result.err == (
        f"error: {tmp_path}/notes.txt: is no picture (.png, .jpg, .jpeg, .bmp, .webp); remove it from the folder\n"
    )
    assert not (tmp_path / "a").exists()


def test_evaluate_needs_nothing_but_the_artifact(triovit, artifact_path):
    options = ("--data", "digits", "--limit", "24", "--json")
    own = triovit("evaluate", artifact_path, *options).document
    named = triovit("evaluate", artifact_path, *options, "--model", "digits").document
    assert (own["metric"], own["images"], own["classes"], own["int_pixel_accuracy"]) == ("top1", 24, None, None)
    assert own["float_score"] >= 0.9
    assert own["agreement"] >= 0.9
    assert all(own[name] == named[name] for name in own if name != "images_per_second")


def test_damaged_float_network(triovit, artifact_path, tmp_path):
    shutil.copytree(artifact_path, tmp_path / "a")
    place = tmp_path / "a" / "float.safetensors"
    place.write_bytes(place.read_bytes()[:-1])
    result = triovit("evaluate", tmp_path / "a", "--data", "digits", "--limit", "2")
    assert (result.code, result.out) == (2, "")
    assert (
        result.err == f"error: {place}: differs from the manifest's sha256 (truncated or changed); quantize the network again\n"
    )


def test_float_network_of_something_else(triovit, artifact_path, tmp_path):
    import torch

    from quant.checkpoints import load

    state = load("digits").state_dict()
    for name in ("head.op_list.3.linear.weight", "head.op_list.3.linear.bias"):
        state[name] = state[name][:7]
    torch.save(state, tmp_path / "seven.pt")
    result = triovit("evaluate", artifact_path, "--data", "digits", "--model", tmp_path / "seven.pt")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: {tmp_path}/seven.pt: is a classification network of 7 classes, and {artifact_path} is a "
        "classification network of 10; give the network that the artifact was made of\n"
    )


def test_size(triovit, artifact_path, tmp_path):
    options = ("--data", "digits", "--limit", "2")
    assert triovit("evaluate", artifact_path, *options, "--size", "32x32").code == 0
    result = triovit("evaluate", artifact_path, *options, "--size", "64x32")
    message = "digits: these pictures are 32x32, and the network reads 64x32; give pictures of your own"
    assert (result.code, result.err) == (2, f"error: {message}\n")
    result = triovit("evaluate", artifact_path, *options, "--size", "40x32")
    message = "network digits: 40x32 is no multiple of 16; choose a size that is"
    assert (result.code, result.err) == (2, f"error: {message}\n")
    result = triovit("evaluate", artifact_path, *options, "--size", "64")
    assert (result.code, result.err) == (
        2,
        "error: Invalid value for '--size': 64 is no size; give width and height like 960x736; see 'triovit evaluate --help'\n",
    )
    quantize = ("quantize", "digits", "--calib", "digits", "-o", tmp_path / "a")
    result = triovit(*quantize, "--size", "64x32", "--res", "32x64")
    assert (result.code, result.err) == (2, "error: --res and --size: both say the picture's size; give one\n")
    # Width first: told by the pictures, which are smaller.
    result = triovit(*quantize, "--size", "64x32")
    assert (result.code, result.err) == (
        2,
        "error: digits: these pictures are 32x32, and the network reads 64x32; give pictures of your own\n",
    )
    result = triovit(*quantize, "--labels", "maps")
    assert (result.code, result.err) == (
        2,
        "error: --labels and --classes: say how to score the float network; name the pictures with --score\n",
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("evaluate", "--data", "digits"), ("generate", "-o", "hardware"), ("simulate",)])
def test_tampered_artifact_is_refused(triovit, artifact_path, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(artifact_path, tmp_path / "a")
    tensors = tmp_path / "a" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x55")
    name, *options = command
    result = triovit(name, "a", *options)
    assert result.code == 2
    assert result.err.startswith("error: a/tensors.safetensors: differs from the manifest's sha256 (truncated or changed); ")
    assert result.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_interrupted_reconstruction_goes_on(triovit, tmp_path, monkeypatch):
    words = ("quantize", "digits", "--calib", "digits", "--pictures", 8, *FAST, "--reconstruct", "--iterations", 2)
    saved = State.save

    def interrupted(self, name, result):
        saved(self, name, result)
        if name == "S2.0.MB":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", interrupted)
        assert triovit(*words, "-o", tmp_path / "a").code == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.blocks"]
    other = triovit(*words, "--seed", 1, "-o", tmp_path / "a")
    assert (other.code, other.out) == (2, "")
    assert other.err.splitlines()[-1] == (
        f"error: {tmp_path}/a.blocks: holds blocks of another network, other pictures or other settings; repeat the command that "
        "was interrupted, or remove the directory"
    )
    again = triovit(*words, "-o", tmp_path / "a", "--json")
    assert again.code == 0, again.err
    assert (again.document["settings"]["reconstruction"], again.document["settings"]["iterations"]) == (True, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    calibration = json.loads((tmp_path / "a" / "manifest.json").read_text())["calibration"]
    assert [len(ratios) for ratios in calibration["reconstruction"].values()][:4] == [2, 2, 2, 2]
    assert "reconstructing: step " in again.err
