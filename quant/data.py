"""Pictures for training, calibration and scoring, as uint8 arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from triovit.errors import UserError

Pictures = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
#: Called with the stage's name, the steps done and the steps in all.
Progress = Callable[[str, int, int], None]

#: What counts as a picture in a folder; everything else there is an error, so that no file is left out silently.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
#: Side of the digits' pictures, pictures held out of training, seed of the split.
DIGITS_SIDE, DIGITS_HELD_OUT, DIGITS_SEED = 32, 360, 0
#: Share of the resized picture's side that the centre crop keeps; EfficientViT's evaluation.
CROP = 0.95
#: How many times a picture may be enlarged for segmentation; more, and there is nothing left to see.
LARGEST_ENLARGEMENT = 4


@dataclass(frozen=True)
class Digits:
    """Handwritten digits, uint8 ``[N, 3, 32, 32]`` with labels 0..9: 1437 to train, 360 held out."""

    train: Pictures
    train_labels: Labels
    held_out: Pictures
    held_out_labels: Labels


def digits() -> Digits:
    """Return scikit-learn's handwritten digits, enlarged to 32x32 and repeated for three channels; the split is always the same.

    Raises
    ------
    UserError
        scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("the digits come with scikit-learn, which is not installed; install scikit-learn") from error
    small, labels = load_digits(return_X_y=True)
    side = DIGITS_SIDE
    grey = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    large = np.stack([np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)) for picture in grey])
    pictures, targets = np.repeat(large[:, None], 3, axis=1), labels.astype(np.int64)
    order = np.random.default_rng(DIGITS_SEED).permutation(len(pictures))
    held, train = order[:DIGITS_HELD_OUT], order[DIGITS_HELD_OUT:]
    return Digits(pictures[train], targets[train], pictures[held], targets[held])


def load_picture(path: Path, resolution: tuple[int, int], *, crop: bool = True) -> Pictures:
    """Read one picture as uint8 ``[3, H, W]``: as it is where it has that size, else resized (bicubic) to it.

    With ``crop``, for classification, the shorter side becomes ``ceil(r / 0.95)`` and the middle is cut out, as in EfficientViT's
    evaluation. Without, for segmentation, the whole picture takes that size. Grey and palette pictures become RGB.

    Raises
    ------
    UserError
        The file is no picture, damaged, or too small: smaller than the resolution, or without ``crop`` than a quarter of it.
    """
    height, width = resolution
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such picture; correct the path") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise UserError(f"{path}: is no readable picture; remove it or replace it by a PNG or JPEG") from error
    if picture.size == (width, height):
        return _channels_first(picture)
    # Segmentation's pictures are often enlarged; a crop is for pictures that have more than the network sees.
    least = (width, height) if crop else (ceil(width / LARGEST_ENLARGEMENT), ceil(height / LARGEST_ENLARGEMENT))
    if picture.width < least[0] or picture.height < least[1]:
        raise UserError(
            f"{path}: is {picture.width}x{picture.height}, too small for a network that reads {width}x{height}; "
            f"use pictures of at least {least[0]}x{least[1]}"
        )
    if not crop:
        return _channels_first(picture.resize((width, height), Image.Resampling.BICUBIC))
    scale = max(ceil(height / CROP) / picture.height, ceil(width / CROP) / picture.width)
    size = (max(round(picture.width * scale), width), max(round(picture.height * scale), height))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return _channels_first(picture.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + width, top + height)))


def _channels_first(picture: Image.Image) -> Pictures:
    return np.ascontiguousarray(np.asarray(picture, np.uint8).transpose(2, 0, 1))


@dataclass(frozen=True)
class PictureFiles:
    """Pictures that stay in their files until a slice asks for them: ``files[2:5]`` is uint8 ``[3, 3, H, W]``."""

    paths: tuple[Path, ...]
    #: Height and width that each is brought to, and how; see `load_picture`.
    resolution: tuple[int, int]
    crop: bool = True

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice) -> Pictures:
        paths = self.paths[part]
        pictures = np.empty((len(paths), 3, *self.resolution), np.uint8)
        for index, path in enumerate(paths):
            pictures[index] = load_picture(path, self.resolution, crop=self.crop)
        return pictures

    def read(self, progress: Progress | None = None) -> Pictures:
        """All of them."""
        pictures = np.empty((len(self), 3, *self.resolution), np.uint8)
        for index in range(len(self)):
            pictures[index] = self[index : index + 1][0]
            if progress:
                progress("reading pictures", index + 1, len(self))
        return pictures


def list_pictures(folder: str | Path, limit: int | None = None) -> tuple[tuple[Path, ...], Labels | None, list[str]]:
    """The paths of a folder's pictures, their labels and the names of the classes; no picture is opened.

    With a folder a class the label is the folder's place in sorted order; with pictures only the labels are None.
    ``limit`` keeps that many pictures, taken evenly from the sorted list.

    Raises
    ------
    UserError
        No such folder, no picture in it, a file whose name is no picture's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of pictures; correct the path")
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    places = [(folder / name, label) for label, name in enumerate(classes)] or [(folder, -1)]
    files = [
        (path, label)
        for place, label in places
        for path in sorted(place.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]
    if not files:
        raise UserError(f"{folder}: holds no pictures; put PNG or JPEG files there, or a folder a class")
    for path, _ in files:
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{path}: is no picture ({', '.join(SUFFIXES)}); remove it from the folder")
    if limit is not None and limit < len(files):
        if limit < 1:
            raise UserError(f"{folder}: {limit} pictures were asked for; ask for at least 1")
        files = [files[index * len(files) // limit] for index in range(limit)]
    return tuple(path for path, _ in files), np.array([label for _, label in files], np.int64) if classes else None, classes


def image_folder(
    folder: str | Path,
    resolution: tuple[int, int],
    limit: int | None = None,
    progress: Progress | None = None,
    *,
    crop: bool = True,
) -> tuple[Pictures, Labels | None, list[str]]:
    """Read a folder of pictures: uint8 ``[N, 3, H, W]``, labels, names of the classes; see `list_pictures` and `load_picture`.

    Raises
    ------
    UserError
        No such folder, no picture in it, a file that is no picture, one that is too small.
    """
    paths, labels, classes = list_pictures(folder, limit)
    return PictureFiles(paths, resolution, crop).read(progress), labels, classes


def check_pictures(pictures: object, resolution: tuple[int, int]) -> Pictures:
    """Return the pictures if they are uint8 ``[N, 3, H, W]`` of that resolution, and at least one.

    Raises
    ------
    UserError
        Says what they are and what they must be.
    """
    wanted = f"uint8 [N, 3, {resolution[0]}, {resolution[1]}]"
    if not isinstance(pictures, np.ndarray):
        raise UserError(f"pictures: are a {type(pictures).__name__}, and must be a NumPy array {wanted}; convert them")
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != (3, *resolution):
        raise UserError(f"pictures: are {pictures.dtype} {list(pictures.shape)}, and must be {wanted}; convert them")
    if not len(pictures):
        raise UserError("pictures: there are none; give at least one")
    return pictures
