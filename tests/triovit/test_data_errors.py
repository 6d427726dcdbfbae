"""Files that commands cannot use: one line, exit code 2, nothing written."""

import shutil

import numpy as np
import pytest
from PIL import Image

from triovit import pictures
from triovit.errors import UserError
from triovit.progress import silent


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "nowhere", "--data", "digits"),
        ("generate", "nowhere", "-o", "hardware"),
        ("simulate", "nowhere"),
    ],
)
def test_missing_artifact(triovit, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    result = triovit(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: nowhere: no such artifact; quantize a network first, or correct the path\n"
    assert not list(tmp_path.iterdir())


def test_network_without_weights(triovit, tmp_path):
    result = triovit("quantize", "b1", "--calib", "digits", "-o", tmp_path / "a")
    assert result.code == 2
    assert result.err == "error: b1: its weights are not packaged (only digits); give the file of a checkpoint\n"
    assert not list(tmp_path.iterdir())


def test_layer_is_named_with_its_file(triovit, artifact_path, tmp_path, monkeypatch):
    from hw import config

    monkeypatch.setitem(config.CONFIGURATIONS, "small", config.TOY.with_(name="small", x_rows=8, y_rows=8))
    result = triovit("generate", artifact_path, "--config", "small", "-o", tmp_path / "hardware")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {artifact_path}: layer stem.0: its output of ")
    assert result.err.endswith("; use a larger configuration or a smaller resolution\n")
    assert result.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_checkpoint_is_named_with_the_layer_whose_outputs_are_not_finite(triovit, tmp_path):
    import torch

    from quant.checkpoints import load

    state = load("digits").state_dict()
    key = "backbone.input_stem.op_list.0.conv.weight"
    torch.save({**state, key: torch.full_like(state[key], 1e37)}, tmp_path / "net.pt")
    result = triovit("quantize", tmp_path / "net.pt", "--calib", "digits", "--pictures", "4", "-o", tmp_path / "a")
    assert result.code == 2
    assert result.err.splitlines()[-1] == (
        f"error: {tmp_path}/net.pt: layer stem.0: its output is not finite on the calibration pictures, first in channel 0; "
        "check the weights and the pictures"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


@pytest.mark.parametrize(
    "words",
    [
        ("quantize", "digits", "--calib", "digits"),
        ("generate", "ARTIFACT"),
        ("simulate", "ARTIFACT"),
        ("demo",),
    ],
)
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("notes.txt", "notes.txt: exists and is not a directory; choose another name"),
        ("notes.txt/a/b", "notes.txt/a/b: cannot be written ({}/notes.txt is not a directory); choose another place"),
    ],
)
def test_place_that_cannot_be_written_is_told_before_the_work(
    triovit, artifact_path, tmp_path, monkeypatch, words, place, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sim.toolchain.environment", dict)
    (tmp_path / "notes.txt").write_text("mine")
    result = triovit(*(artifact_path if word == "ARTIFACT" else word for word in words), "-o", place)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message.format(tmp_path)}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_artifact_and_hardware_do_not_replace_each_other(triovit, artifact_path, tmp_path):
    shutil.copytree(artifact_path, tmp_path / "a")
    before = {path.name: path.read_bytes() for path in artifact_path.iterdir()}
    result = triovit("generate", tmp_path / "a", "-o", tmp_path / "a")
    assert (result.code, result.err) == (
        2,
        f"error: {tmp_path}/a: exists and holds a triovit-artifact, which a triovit-hardware does not replace; "
        "choose another directory\n",
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "manifest.json").write_text('{"schema": "triovit-hardware"}')
    result = triovit("quantize", "digits", "--calib", "digits", "-o", tmp_path / "h")
    assert result.code == 2
    assert "/h: exists and holds a triovit-hardware, which a triovit-artifact does not replace; " in result.err


def test_digits_are_split_for_good():
    training = pictures.calibration("digits", (32, 32), 5000, silent)
    held_out = pictures.held_out((32, 32))
    assert (len(training), len(held_out.pictures), len(held_out.labels)) == (1437, 360, 360)
    seen = {picture.tobytes() for picture in training}
    assert not any(picture.tobytes() in seen for picture in held_out.pictures)


DIGITS = {"name": "digits", "task": "classification", "classes": 10, "resolution": [32, 32]}


def picture(path, size=(32, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 50).convert("RGB").save(path)
    return path


def test_pictures_to_score_stay_in_their_files(tmp_path):
    for index in range(10):
        picture(tmp_path / str(index) / "a.png")
    found = pictures.to_score(str(tmp_path), None, DIGITS, 5, silent)
    assert (found.labels.tolist(), found.classes, len(found.pictures)) == ([0, 2, 4, 6, 8], None, 5)
    (tmp_path / "4" / "a.png").unlink()
    assert found.pictures[3:].shape == (2, 3, 32, 32)
    digits = pictures.to_score("digits", None, DIGITS, 5, silent)
    assert (digits.pictures.shape, digits.labels.shape) == ((5, 3, 32, 32), (5,))


@pytest.mark.parametrize(
    "words", [("evaluate", "ARTIFACT", "--data", "DATA"), ("quantize", "digits", "--calib", "digits", "--score", "DATA")]
)
def test_folder_of_other_classes_than_the_networks(triovit, artifact_path, tmp_path, words):
    for name in ("ant", "bee", "cat"):
        picture(tmp_path / "data" / name / "a.png")
    places = {"ARTIFACT": artifact_path, "DATA": tmp_path / "data"}
    output = ("-o", tmp_path / "a") if words[0] == "quantize" else ()
    result = triovit(*(places.get(word, word) for word in words), *output)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: {tmp_path}/data: has 3 classes, and network digits has 10; "
        "give one folder for each of the network's classes, in their sorted order\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(("option", "value"), [("--labels", "maps"), ("--classes", "camvid")])
def test_label_maps_for_a_classifier(triovit, artifact_path, option, value):
    result = triovit("evaluate", artifact_path, "--data", "digits", option, value)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {option} {value}: is for segmentation, and network digits classifies pictures; leave it out\n"


def test_calibration_folders_that_cannot_be_used(triovit, tmp_path):
    def refused():
        result = triovit("quantize", "digits", "--calib", tmp_path / "calib", "-o", tmp_path / "a")
        assert (result.code, result.out) == (2, "")
        assert not (tmp_path / "a").exists()
        return result.err.splitlines()[-1].removeprefix(f"error: {tmp_path}/calib")

    assert refused() == ": no such folder of pictures; correct the path"
    (tmp_path / "calib").mkdir()
    assert refused() == ": holds no pictures; put PNG or JPEG files there, or a folder a class"
    picture(tmp_path / "calib" / "a.png")
    picture(tmp_path / "calib" / "b.png", (40, 31))
    assert refused() == "/b.png: is 40x31, too small for a network that reads 32x32; use pictures of at least 32x32"
    (tmp_path / "calib" / "b.png").write_text("no picture")
    assert refused() == "/b.png: is no readable picture; remove it or replace it by a PNG or JPEG"
    (tmp_path / "calib" / "b.png").rename(tmp_path / "calib" / "notes.txt")
    assert refused() == "/notes.txt: is no picture (.png, .jpg, .jpeg, .bmp, .webp); remove it from the folder"


def test_calibration_sees_what_the_network_will(tmp_path):
    place = picture(tmp_path / "a.png", (80, 40))
    whole = pictures.calibration(str(tmp_path), (32, 32), 8, silent, task="segmentation")
    middle = pictures.calibration(str(tmp_path), (32, 32), 8, silent)
    with Image.open(place) as opened:
        assert (whole[0] == np.asarray(opened.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)).all()
    assert (whole != middle).any()


def test_digits_have_one_size():
    with pytest.raises(UserError) as caught:
        pictures.calibration("digits", (224, 320), 8, silent)
    assert str(caught.value) == "digits: these pictures are 32x32, and the network reads 320x224; give pictures of your own"


def test_folder_without_classes_cannot_score(tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    assert pictures.calibration(str(tmp_path), (32, 32), 8, silent).shape == (1, 3, 32, 32)
    with pytest.raises(UserError) as caught:
        pictures.to_score(str(tmp_path), None, DIGITS, None, silent)
    assert str(caught.value) == f"{tmp_path}: has no classes to score against; put the pictures into one folder a class"


def test_network_without_pictures_of_its_own():
    with pytest.raises(UserError) as caught:
        pictures.chosen((), "b1", (224, 224), 1)
    assert str(caught.value) == "network b1 comes with no pictures; name one or more with --image FILE"


def test_named_pictures(tmp_path):
    Image.fromarray(np.full((32, 32, 3), 7, np.uint8)).save(tmp_path / "a.png")
    found = pictures.chosen((tmp_path / "a.png",) * 2, "b1", (32, 32), 1)
    assert found.shape == (2, 3, 32, 32)
    assert (found == 7).all()
