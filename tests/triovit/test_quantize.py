"""``triovit quantize`` and ``triovit evaluate``."""

import re
import shutil

import pytest

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
        "pictures",
        "integer network",
        "float network",
        "same class",
        "pictures a second",
    ]


def test_float_score_of_other_pictures_says_so(triovit, tmp_path):
    assert triovit("quantize", "digits", "--calib", "digits", "--pictures", 4, "-o", tmp_path / "a", *FAST).code == 0
    lines = triovit("evaluate", tmp_path / "a", "--data", "digits", "--limit", "8").out.splitlines()
    assert re.fullmatch(r"float network      9\d\.\d\d% \(of 360 pictures, when it was quantized\)", lines[2])
    lines = triovit("evaluate", tmp_path / "a", "--data", "digits").out.splitlines()
    assert re.fullmatch(r"float network      9\d\.\d\d%", lines[2])


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
    assert result.document["settings"]["shifting"] is False
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["manifest.json", "tensors.safetensors"]


def test_failed_quantization_leaves_nothing(triovit, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    result = triovit("quantize", "digits", "--calib", tmp_path, "-o", tmp_path / "a")
    assert result.code == 2
    assert result.err == (
        f"error: {tmp_path}/notes.txt: is no picture (.png, .jpg, .jpeg, .bmp, .webp); remove it from the folder\n"
    )
    assert not (tmp_path / "a").exists()


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
