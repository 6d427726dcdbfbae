"""The pictures that a command names: the built-in digits or a folder. Training pictures and held-out ones never mix."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triovit.errors import UserError
from triovit.progress import Progress

#: The name of the built-in pictures.
DIGITS = "digits"
#: Their height and width.
DIGITS_SIZE = (32, 32)


@dataclass(frozen=True)
class Labelled:
    """uint8 pictures ``[N, 3, H, W]`` and the class of each."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]


def calibration(data: str, resolution: tuple[int, int], limit: int, progress: Progress) -> NDArray[np.uint8]:
    """At most ``limit`` pictures to calibrate with: of the digits' training split, or of a folder.

    Raises
    ------
    UserError
        No such folder, a file in it that is no picture, or pictures of another size than the network's.
    """
    from quant.data import digits, image_folder

    if data == DIGITS:
        _check_size(resolution)
        return digits().train[:limit]
    return image_folder(data, resolution, limit, progress)[0]


def labelled(data: str, resolution: tuple[int, int], limit: int | None, progress: Progress) -> Labelled:
    """At most ``limit`` pictures to score with: of the digits' held-out split, or of a folder with a folder a class.

    Raises
    ------
    UserError
        As `calibration`, and a folder without classes.
    """
    from quant.data import digits, image_folder

    if data == DIGITS:
        _check_size(resolution)
        split = digits()
        return Labelled(split.held_out[:limit], split.held_out_labels[:limit])
    pictures, labels, _ = image_folder(data, resolution, limit, progress)
    if labels is None:
        raise UserError(f"{data}: has no classes to score against; put the pictures into one folder a class")
    return Labelled(pictures, labels)


def chosen(paths: tuple[Path, ...], network: str, resolution: tuple[int, int], count: int) -> NDArray[np.uint8]:
    """The named pictures, or the first ``count`` held-out digits where none is named and the network reads digits.

    Raises
    ------
    UserError
        A file that is no picture; or none is named and the network does not read digits.
    """
    from quant.data import digits, load_picture

    if paths:
        return np.stack([load_picture(path, resolution) for path in paths])
    if network != DIGITS:
        raise UserError(f"network {network} comes with no pictures; name one or more with --image FILE")
    _check_size(resolution)
    return digits().held_out[:count]


def _check_size(resolution: tuple[int, int]) -> None:
    """Refuse a network that reads pictures of another size than the digits'."""
    if resolution != DIGITS_SIZE:
        (height, width), (tall, wide) = DIGITS_SIZE, resolution
        raise UserError(
            f"{DIGITS}: these pictures are {width}x{height}, and the network reads {wide}x{tall}; give pictures of your own"
        )
