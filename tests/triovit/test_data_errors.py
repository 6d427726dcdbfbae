"""Files that commands cannot use: one line, exit code 2, nothing written."""

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


def test_digits_are_split_for_good():
    training = pictures.calibration("digits", (32, 32), 5000, silent)
    held_out = pictures.labelled("digits", (32, 32), None, silent)
    assert (len(training), len(held_out.pictures), len(held_out.labels)) == (1437, 360, 360)
    seen = {picture.tobytes() for picture in training}
    assert not any(picture.tobytes() in seen for picture in held_out.pictures)


def test_digits_have_one_size():
    with pytest.raises(UserError) as caught:
        pictures.calibration("digits", (224, 224), 8, silent)
    assert str(caught.value) == "pictures: are uint8 [8, 3, 32, 32], and must be uint8 [N, 3, 224, 224]; convert them"


def test_folder_without_classes_cannot_score(tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    assert pictures.calibration(str(tmp_path), (32, 32), 8, silent).shape == (1, 3, 32, 32)
    with pytest.raises(UserError) as caught:
        pictures.labelled(str(tmp_path), (32, 32), None, silent)
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
