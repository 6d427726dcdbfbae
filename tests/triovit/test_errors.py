"""``triovit errors`` and its page."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from quant.artifact import Artifact
from quant.data import digits
from sim.golden.model import GoldenModel

COUNT = 6


def test_the_document(triovit, artifact_path):
    result = triovit("errors", artifact_path, "--data", "digits", "--limit", COUNT, "--json")
    assert result.code == 0, result.err
    found, artifact = result.document, Artifact.load(artifact_path)
    described = {"schema", "artifact", "network", "metric", "images", "float_score"}
    assert set(found) == described | {"integer", "quantizers", "effects", "divisors", "ranges"}
    assert (found["schema"], found["network"], found["images"]) == ("triovit-errors", "digits", COUNT)
    assert (found["metric"], found["float_score"], found["effects"]) == (None, None, None)
    outputs = [one for one in found["quantizers"] if one["part"] == "output"]
    assert [one["layer"] for one in outputs] == [layer.name for layer in artifact.layers]
    assert outputs[-1]["accumulated"] == found["integer"]["sqnr"]
    assert f"errors: step {COUNT}/{COUNT}, done in " in result.err
    tensors = GoldenModel(artifact).run(digits().held_out[:COUNT]).tensors
    for one in found["divisors"]:
        assert one["codes"] == np.bincount(tensors[f"{one['layer']}.code"].ravel(), minlength=1 << one["code_bits"]).tolist()
    assert {one["layer"] for one in found["ranges"]} == set(artifact.calibration["remedies"])


def test_effects_and_the_page(triovit, artifact_path, tmp_path):
    result = triovit("errors", artifact_path, "--data", "digits", "--limit", COUNT, "--effect", "-o", tmp_path / "found")
    assert result.code == 0, result.err
    found = json.loads((tmp_path / "found" / "errors.json").read_text())
    assert found["metric"] == "top1"
    assert {(one["layer"], one["part"]) for one in found["effects"]} == {
        (one["layer"], one["part"]) for one in found["quantizers"]
    }
    worst = found["effects"][0]
    lines = result.out.splitlines()
    place = lines.index(f"Each quantizer alone, the 20 most harmful of {len(found['effects'])}:")
    assert lines[place + 1].split("  ")[0] == "layer"
    assert lines[place + 2].split()[:3] == [worst["layer"], worst["part"], f"{worst['effect']['sqnr']:.1f}"]
    page = triovit("report", tmp_path / "found", "--json")
    assert page.document == {"report": str(tmp_path / "found" / "report.html")}
    text = (tmp_path / "found" / "report.html").read_text()
    assert "codes in use, 10 bits" in text
    assert f"{worst['layer']}</td><td>{worst['part']}" in text
    assert "migration, equalization or shifting" in text


def test_pictures_without_classes_have_no_score(triovit, artifact_path, tmp_path):
    for index, picture in enumerate(digits().held_out[:2]):
        Image.fromarray(picture.transpose(1, 2, 0)).save(tmp_path / f"{index}.png")
    result = triovit("errors", artifact_path, "--data", tmp_path, "--effect", "--json")
    assert result.code == 0, result.err
    assert (result.document["images"], result.document["metric"], result.document["float_score"]) == (2, None, None)
    assert all(one["effect"]["score_change"] is None for one in result.document["effects"])


def test_an_artifact_without_float_network(triovit, artifact_path, tmp_path):
    artifact = Artifact.load(artifact_path)
    artifact.float_weights = None
    artifact.save(tmp_path / "bare")
    result = triovit("errors", tmp_path / "bare", "--data", "digits")
    assert result.code == 2
    assert result.err == (
        f"error: {tmp_path / 'bare'}: carries no float network to compare with; quantize again without --no-float\n"
    )


def test_an_artifact_without_factors(triovit, artifact_path, tmp_path):
    artifact = Artifact.load(artifact_path)
    del artifact.calibration["factors"]
    artifact.save(tmp_path / "old")
    result = triovit("errors", tmp_path / "old", "--data", "digits")
    assert result.code == 2
    assert result.err.splitlines()[-1] == (
        f"error: {tmp_path / 'old'}: field calibration.factors is missing, and real values need it; quantize the network again"
    )


@pytest.mark.parametrize("option", [("--labels", "maps"), ("--classes", "camvid")])
def test_labels_without_effects(triovit, artifact_path, option):
    result = triovit("errors", artifact_path, "--data", "digits", *option)
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: --labels and --classes: say how to score the effects; add --effect\n"


def test_nothing_is_written_where_pictures_are_bad(triovit, artifact_path, tmp_path):
    (tmp_path / "empty").mkdir()
    result = triovit("errors", artifact_path, "--data", tmp_path / "empty", "-o", tmp_path / "found")
    assert result.code == 2
    assert result.err == f"error: {tmp_path / 'empty'}: holds no pictures; put PNG or JPEG files there, or a folder a class\n"
    assert not (tmp_path / "found").exists()


def test_a_page_needs_something_to_show(triovit, artifact_path, tmp_path):
    result = triovit("report", tmp_path)
    assert result.code == 2
    assert result.err == f"error: {tmp_path / 'report.json'}: no such file; simulate the network again\n"
    (tmp_path / "errors.json").write_text("{}")
    result = triovit("report", tmp_path)
    assert result.err == f"error: {tmp_path / 'errors.json'}: field integer is missing; run triovit errors again\n"


def test_damaged_float_tensors_are_found_before_anything_runs(triovit, artifact_path, tmp_path):
    shutil.copytree(artifact_path, tmp_path / "copy")
    file = tmp_path / "copy" / "float.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    result = triovit("errors", tmp_path / "copy", "--data", "digits")
    assert result.code == 2
    assert result.err.startswith(f"error: {file}: ")
