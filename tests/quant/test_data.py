"""Pictures: the digits, folders, and every way a picture can be wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quant.checkpoints import PACKAGED
from quant.data import PictureFiles, check_pictures, digits, image_folder, list_pictures, load_picture
from quant.train_digits import train
from triovit.errors import UserError


def picture(path: Path, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.effect_noise(size, 50).convert(mode).save(path)
    return path


def test_digits() -> None:
    one, two = digits(), digits()
    assert one.train.shape == (1437, 3, 32, 32)
    assert one.held_out.shape == (360, 3, 32, 32)
    assert one.train.dtype == np.uint8
    assert one.train.max() == 255
    assert np.array_equal(one.train, two.train)
    assert np.array_equal(one.held_out_labels, two.held_out_labels)
    assert set(one.held_out_labels.tolist()) == set(range(10))


def test_packaged_weights_are_small() -> None:
    assert PACKAGED["digits"].stat().st_size < 500_000


def test_training_learns_and_repeats() -> None:
    (one, score), (two, _) = train(epochs=2), train(epochs=2)
    assert score > 0.3
    assert all(bool((value == two.state_dict()[name]).all()) for name, value in one.state_dict().items())


def test_a_picture_of_the_right_size_is_untouched(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    with Image.open(path) as opened:
        assert np.array_equal(load_picture(path, (32, 32)), np.asarray(opened).transpose(2, 0, 1))


def test_resize_and_crop(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", (80, 60))
    with Image.open(path) as opened:
        # ceil(32 / 0.95) = 34 for the shorter side.
        resized = opened.resize((45, 34), Image.Resampling.BICUBIC).crop((6, 1, 38, 33))
    assert np.array_equal(load_picture(path, (32, 32)), np.asarray(resized).transpose(2, 0, 1))


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    found = load_picture(picture(tmp_path / "a.png", mode="L"), (32, 32))
    assert found.shape == (3, 32, 32)
    assert np.array_equal(found[0], found[2])


def test_folders(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/b.png", "ant/c.png"):
        picture(tmp_path / name)
    pictures, labels, classes = image_folder(tmp_path, (32, 32))
    assert (pictures.shape, labels.tolist(), classes) == ((3, 3, 32, 32), [0, 1, 1], ["ant", "cat"])  # type: ignore[union-attr]
    pictures, labels, classes = image_folder(tmp_path / "cat", (32, 32), limit=1)
    assert (pictures.shape, labels, classes) == ((1, 3, 32, 32), None, [])


def test_a_picture_may_not_be_enlarged_to_be_cropped_but_to_be_segmented(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", (12, 24))
    with Image.open(path) as opened:
        resized = opened.resize((48, 40), Image.Resampling.BICUBIC)
    assert np.array_equal(load_picture(path, (40, 48), crop=False), np.asarray(resized).transpose(2, 0, 1))
    with pytest.raises(UserError) as caught:
        load_picture(path, (40, 49), crop=False)
    assert str(caught.value) == (f"{path}: is 12x24, too small for a network that reads 49x40; use pictures of at least 13x10")
    with pytest.raises(UserError) as caught:
        load_picture(path, (24, 13))
    assert str(caught.value) == (f"{path}: is 12x24, too small for a network that reads 13x24; use pictures of at least 13x24")


def test_pictures_stay_in_their_files(tmp_path: Path) -> None:
    for index in range(5):
        picture(tmp_path / f"{index}.png")
    paths, labels, classes = list_pictures(tmp_path, limit=3)
    assert ([path.name for path in paths], labels, classes) == (["0.png", "1.png", "3.png"], None, [])
    files = PictureFiles(paths, (32, 32))
    whole = files.read()
    assert (len(files), whole.shape) == (3, (3, 3, 32, 32))
    assert np.array_equal(files[1:3], whole[1:])
    assert files[3:].shape == (0, 3, 32, 32)
    assert np.array_equal(whole, image_folder(tmp_path, (32, 32), 3)[0])
    paths[1].unlink()
    assert np.array_equal(files[2:3], whole[2:])
    with pytest.raises(UserError):
        files[1:2]


READS = "a network that reads 32x32"


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        image_folder(folder, (32, 32))
    return str(caught.value)


def test_refused_folders(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == f"{tmp_path / 'none'}: no such folder of pictures; correct the path"
    assert refused(tmp_path) == f"{tmp_path}: holds no pictures; put PNG or JPEG files there, or a folder a class"
    (tmp_path / "a.txt").write_text("x")
    assert refused(tmp_path) == f"{tmp_path / 'a.txt'}: is no picture (.png, .jpg, .jpeg, .bmp, .webp); remove it from the folder"
    (tmp_path / "a.txt").rename(tmp_path / "a.png")
    assert refused(tmp_path) == f"{tmp_path / 'a.png'}: is no readable picture; remove it or replace it by a PNG or JPEG"
    picture(tmp_path / "a.png", (10, 40))
    assert refused(tmp_path) == f"{tmp_path / 'a.png'}: is 10x40, too small for {READS}; use pictures of at least 32x32"
    whole = picture(tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path) == f"{tmp_path / 'a.png'}: is no readable picture; remove it or replace it by a PNG or JPEG"
    with pytest.raises(UserError) as caught:
        load_picture(tmp_path / "b.png", (32, 32))
    assert str(caught.value) == f"{tmp_path / 'b.png'}: no such picture; correct the path"


def test_refused_arrays() -> None:
    with pytest.raises(UserError) as caught:
        check_pictures([1], (32, 32))
    assert str(caught.value) == "pictures: are a list, and must be a NumPy array uint8 [N, 3, 32, 32]; convert them"
