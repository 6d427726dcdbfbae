"""``triovit export``."""

import json
import shutil
import sys

import onnx
import pytest
from PIL import Image

from quant.data import digits


def test_export_writes_a_valid_file_and_always_the_same(triovit, artifact_path, tmp_path):
    for name in ("one.onnx", "two.onnx"):
        result = triovit("export", artifact_path, "--onnx", tmp_path / name, "--json")
        assert result.code == 0, result.err
    content = (tmp_path / "one.onnx").read_bytes()
    assert content == (tmp_path / "two.onnx").read_bytes()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert result.document == {
        "onnx": str(tmp_path / "two.onnx"),
        "network": "digits",
        "nodes": len(model.graph.node),
        "bytes": len(content),
        "check": None,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.onnx", "two.onnx"]


def test_check_as_json(triovit, artifact_path, tmp_path):
    result = triovit("export", artifact_path, "--onnx", tmp_path / "a.onnx", "--check", "digits", "--limit", 24, "--json")
    assert result.code == 0, result.err
    found = result.document["check"]
    assert found["images"] == 24
    assert found["agreement"] >= 0.9
    layers = [layer["name"] for layer in json.loads((artifact_path / "manifest.json").read_text())["layers"]]
    assert [row["layer"] for row in found["layers"]] == layers
    assert set(found["layers"][0]) == {"layer", "alone", "alone_worst", "alone_equal", "together"}
    assert "onnxruntime: step 24/24, done in " in result.err


def test_check_as_text(triovit, artifact_path, tmp_path):
    lines = triovit("export", artifact_path, "--onnx", tmp_path / "a.onnx", "--check", "digits", "--limit", 4).out.splitlines()
    gap = lines.index("")
    assert lines[0].split() == ["layer", "alone:", "mean", "largest", "equal", "in", "the", "network:", "mean"]
    assert lines[1].split()[0] == "stem.0"
    assert [line.split("  ")[0] for line in lines[gap + 1 :]] == [
        "file",
        "network",
        "nodes",
        "bytes",
        "pictures",
        "same class",
        "mean difference",
        "largest difference",
    ]


def test_pictures_to_check_with_need_no_classes(triovit, artifact_path, tmp_path):
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate(digits().held_out[:3]):
        Image.fromarray(picture.transpose(1, 2, 0)).save(tmp_path / "pictures" / f"{number}.png")
    result = triovit("export", artifact_path, "--onnx", tmp_path / "a.onnx", "--check", tmp_path / "pictures", "--json")
    assert result.code == 0, result.err
    assert result.document["check"]["images"] == 3


def test_bad_pictures_leave_no_file(triovit, artifact_path, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    result = triovit("export", artifact_path, "--onnx", tmp_path / "a.onnx", "--check", tmp_path / "pictures")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: {tmp_path}/pictures/notes.txt: is no picture (.png, .jpg, .jpeg, .bmp, .webp); remove it from the folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_limit_alone_is_refused(triovit, artifact_path, tmp_path):
    result = triovit("export", artifact_path, "--onnx", tmp_path / "a.onnx", "--limit", 4)
    assert result.code == 2
    assert result.err == "error: --limit needs --check; see 'triovit export --help'\n"
    assert not (tmp_path / "a.onnx").exists()


def test_a_place_that_is_a_directory(triovit, artifact_path, tmp_path):
    (tmp_path / "a.onnx").mkdir()
    result = triovit("export", artifact_path, "--onnx", tmp_path / "a.onnx")
    assert result.code == 2
    assert result.err == f"error: {tmp_path}/a.onnx: cannot be written (Is a directory); choose another place\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(triovit, artifact_path, tmp_path, monkeypatch, package):
    for name in [name for name in sys.modules if name.startswith("quant.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    result = triovit("export", artifact_path, "--onnx", tmp_path / "a.onnx", "--check", "digits", "--limit", 1)
    assert result.code == 2
    message = f"error: {tmp_path}/a.onnx: needs the Python package {package}; run pip install {package}\n"
    assert result.err == message
    assert not (tmp_path / "a.onnx").exists()


def test_tampered_artifact_is_refused(triovit, artifact_path, tmp_path):
    shutil.copytree(artifact_path, tmp_path / "a")
    tensors = tmp_path / "a" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x55")
    result = triovit("export", tmp_path / "a", "--onnx", tmp_path / "a.onnx")
    assert result.code == 2
    assert result.err.startswith(f"error: {tensors}: differs from the manifest's sha256 (truncated or changed); ")
    assert not (tmp_path / "a.onnx").exists()
