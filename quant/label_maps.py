"""Label maps: one-channel pictures whose pixels are classes, beside pictures of the same file names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from quant.data import Progress
from triovit.errors import UserError

LabelMap = npt.NDArray[np.uint8]

#: Modes of a picture whose pixels are whole numbers: bytes, palette indices, 16 and 32 bits.
_MODES = ("L", "P", "I;16", "I;16B", "I;16L", "I")


@dataclass(frozen=True)
class LabelFiles:
    """Label maps that stay in their files until a slice asks for them: ``files[2:5]`` is three arrays uint8 ``[H, W]``."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice) -> list[LabelMap]:
        return [load_label_map(path) for path in self.paths[part]]


def load_label_map(path: Path) -> LabelMap:
    """Read one label map as uint8 ``[H, W]``, of a palette the indices.

    Raises
    ------
    UserError
        The file is no picture, damaged, or its pixels are no numbers of classes.
    """
    try:
        with Image.open(path) as opened:
            mode, values = opened.mode, np.asarray(opened)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such label map; correct the path") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise UserError(f"{path}: is no readable label map; replace it by a PNG of one channel") from error
    if mode not in _MODES:
        raise UserError(f"{path}: is a picture of mode {mode}, and a label map has one channel of class numbers; save it so")
    if values.size and not 0 <= values.min() <= values.max() <= 255:
        raise UserError(f"{path}: holds values {values.min()} .. {values.max()}, and a label map has 0 .. 255; correct it")
    return values.astype(np.uint8)


def label_files(folder: str | Path, pictures: Sequence[Path]) -> LabelFiles:
    """The label map of each picture: the file of the same name in ``folder``, or of the same name with ``.png``.

    Raises
    ------
    UserError
        No such folder, or a picture without label map.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of label maps; correct the path")
    found = []
    for picture in pictures:
        places = (folder / picture.name, folder / f"{picture.stem}.png")
        there = next((place for place in places if place.is_file()), None)
        if there is None:
            raise UserError(f"{picture}: has no label map {places[0]}; add it or remove the picture")
        found.append(there)
    return LabelFiles(tuple(found))


def values_held(labels: LabelFiles, pictures: Sequence[Path], progress: Progress | None = None) -> npt.NDArray[np.bool_]:
    """Which values each label map holds, bool ``[N, 256]``, after checking that it has the size of its picture's file.

    Raises
    ------
    UserError
        A label map that cannot be read, or of another size than its picture.
    """
    held = np.zeros((len(labels), 256), bool)
    for index, (path, picture) in enumerate(zip(labels.paths, pictures, strict=True)):
        values = load_label_map(path)
        try:
            with Image.open(picture) as opened:
                width, height = opened.size
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
            raise UserError(f"{picture}: is no readable picture; remove it or replace it by a PNG or JPEG") from error
        if values.shape != (height, width):
            raise UserError(
                f"{path}: is {values.shape[1]}x{values.shape[0]}, and its picture is {width}x{height}; "
                "give a label map of the picture's size"
            )
        held[index, np.unique(values)] = True
        if progress:
            progress("checking labels", index + 1, len(labels))
    return held
