"""Label maps and every way they can be wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quant.label_maps import label_files, load_label_map, values_held
from triovit.errors import UserError


def save(path: Path, values: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    picture = Image.fromarray(values)
    (picture if mode is None else picture.convert(mode)).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two pictures, 6 wide and 4 high."""
    return [save(tmp_path / "val" / name, np.zeros((4, 6, 3), np.uint8)) for name in ("a.png", "b.jpg")]


def test_values_of_every_mode(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert (load_label_map(save(tmp_path / "bytes.png", values)) == values).all()
    assert (load_label_map(save(tmp_path / "words.png", values.astype(np.uint16))) == values).all()
    palette = Image.fromarray(values)
    palette.putpalette([7] * 768)
    palette.save(tmp_path / "palette.png")
    found = load_label_map(tmp_path / "palette.png")
    assert (found == values).all()
    assert found.dtype == np.uint8


def test_files_of_the_same_name(tmp_path: Path, pictures: list[Path]) -> None:
    for name, value in (("a.png", 1), ("b.png", 2), ("c.png", 3)):
        save(tmp_path / "labels" / name, np.full((4, 6), value, np.uint8))
    files = label_files(tmp_path / "labels", pictures)
    assert [path.name for path in files.paths] == ["a.png", "b.png"]
    assert [int(values[0, 0]) for values in files[0:2]] == [1, 2]
    assert len(files) == 2
    calls: list[tuple[str, int, int]] = []
    held = values_held(files, pictures, lambda *call: calls.append(call))
    assert [np.flatnonzero(row).tolist() for row in held] == [[1], [2]]
    assert calls == [("checking labels", 1, 2), ("checking labels", 2, 2)]


def refused(place: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_label_map(place)
    return str(caught.value)


def test_refused_files(tmp_path: Path) -> None:
    place = tmp_path / "a.png"
    assert refused(place) == f"{place}: no such label map; correct the path"
    place.write_text("text")
    assert refused(place) == f"{place}: is no readable label map; replace it by a PNG of one channel"
    save(place, np.zeros((4, 6, 3), np.uint8))
    assert refused(place) == f"{place}: is a picture of mode RGB, and a label map has one channel of class numbers; save it so"
    save(place, np.array([[3, 256]], np.uint16))
    assert refused(place) == f"{place}: holds values 3 .. 256, and a label map has 0 .. 255; correct it"


def test_refused_folders(tmp_path: Path, pictures: list[Path]) -> None:
    labels = tmp_path / "labels"
    with pytest.raises(UserError) as caught:
        label_files(labels, pictures)
    assert str(caught.value) == f"{labels}: no such folder of label maps; correct the path"
    save(labels / "a.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(UserError) as caught:
        label_files(labels, pictures)
    assert str(caught.value) == f"{pictures[1]}: has no label map {labels / 'b.jpg'}; add it or remove the picture"
    save(labels / "b.png", np.zeros((6, 4), np.uint8))
    with pytest.raises(UserError) as caught:
        values_held(label_files(labels, pictures), pictures)
    assert str(caught.value) == f"{labels / 'b.png'}: is 4x6, and its picture is 6x4; give a label map of the picture's size"
    pictures[0].write_text("text")
    with pytest.raises(UserError) as caught:
        values_held(label_files(labels, pictures), pictures)
    assert str(caught.value) == f"{pictures[0]}: is no readable picture; remove it or replace it by a PNG or JPEG"
