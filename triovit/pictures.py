"""The pictures that a command names: the built-in digits or a folder. Training pictures and held-out ones never mix."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from triovit.errors import UserError
from triovit.progress import Progress

if TYPE_CHECKING:
    from sim.evaluate import Labels, Pictures
    from sim.scoring.classes import LabelClasses

#: The name of the built-in pictures.
DIGITS = "digits"
#: Their height and width.
DIGITS_SIZE = (32, 32)
#: And their classes, 0 to 9.
DIGITS_CLASSES = 10


@dataclass(frozen=True)
class Labelled:
    """uint8 pictures ``[N, 3, H, W]`` and the class of each."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """Pictures to score a network with, and their labels; those of a folder stay in their files until they are needed."""

    pictures: "Pictures"
    labels: "Labels"
    #: What label maps' values mean; None for a classifier.
    classes: "LabelClasses | None"


def calibration(
    data: str, resolution: tuple[int, int], limit: int, progress: Progress, *, task: str = "classification"
) -> NDArray[np.uint8]:
    """At most ``limit`` pictures to calibrate with: of the digits' training split, or of a folder.

    They are prepared as ``task`` ("classification" or "segmentation") will see them; see `quant.data.load_picture`.

    Raises
    ------
    UserError
        No such folder, a file in it that is no picture, or pictures of another size than the network's.
    """
    from quant.data import digits, image_folder

    if data == DIGITS:
        _check_size(resolution)
        return digits().train[:limit]
    return image_folder(data, resolution, limit, progress, crop=task == "classification")[0]


def held_out(resolution: tuple[int, int]) -> Labelled:
    """The digits that were held out of training.

    Raises
    ------
    UserError
        A network that reads pictures of another size.
    """
    from quant.data import digits

    _check_size(resolution)
    split = digits()
    return Labelled(split.held_out, split.held_out_labels)


def to_score(
    data: str,
    labels: str | None,
    network: Mapping[str, Any],
    limit: int | None,
    progress: Progress,
    *,
    classes: str | None = None,
) -> Scored:
    """At most ``limit`` pictures to score a network with.

    Parameters
    ----------
    data
        ``digits`` (those held out), a folder with a folder a class, or for a segmentation network a folder of pictures.
    labels
        For a segmentation network the folder of label maps, of the pictures' file names.
    network
        The manifest's ``network``: ``name``, ``task``, ``classes`` and ``resolution``.
    limit
        Pictures are taken evenly.
    progress
        Shows the check of all label maps.
    classes
        What label maps' values mean; see `sim.scoring.classes.label_classes`.

    Raises
    ------
    UserError
        As `calibration`, labels that are missing, or that do not fit the pictures or the network's classes.
    """
    height, width = network["resolution"]
    if network["task"] == "segmentation":
        return _label_maps(data, labels, network, limit, progress, classes)
    for option, value in (("--labels", labels), ("--classes", classes)):
        if value is not None:
            raise UserError(
                f"{option} {value}: is for segmentation, and network {network['name']} classifies pictures; leave it out"
            )
    if data == DIGITS:
        split = held_out((height, width))
        given: Pictures = split.pictures[:limit]
        targets, count = split.labels[:limit], DIGITS_CLASSES
    else:
        from quant.data import PictureFiles, list_pictures

        paths, found, names = list_pictures(data, limit)
        if found is None:
            raise UserError(f"{data}: has no classes to score against; put the pictures into one folder a class")
        given, targets, count = PictureFiles(paths, (height, width)), found, len(names)
    if count != network["classes"]:
        raise UserError(
            f"{data}: has {count} classes, and network {network['name']} has {network['classes']}; "
            "give one folder for each of the network's classes, in their sorted order"
        )
    return Scored(given, targets, None)


def _label_maps(
    data: str, labels: str | None, network: Mapping[str, Any], limit: int | None, progress: Progress, name: str | None
) -> Scored:
    """Pictures and label maps, all of which are checked before anything is computed."""
    from quant.data import PictureFiles, list_pictures
    from quant.label_maps import label_files, values_held
    from sim.scoring.classes import label_classes

    if labels is None:
        raise UserError(f"{data}: network {network['name']} is scored with label maps; name their folder with --labels")
    if data == DIGITS:
        raise UserError(f"{DIGITS}: have no label maps; give a folder of pictures")
    paths, found, _ = list_pictures(data, limit)
    if found is not None:
        raise UserError(
            f"{data}: has a folder a class, and a segmentation network is scored with pictures beside label maps; give those"
        )
    files = label_files(labels, paths)
    held = values_held(files, paths, progress)
    classes = label_classes(name, network["classes"], np.any(held, axis=0))
    for path, strange in zip(files.paths, held & ~classes.values(), strict=True):
        if strange.any():
            raise UserError(
                f"{path}: value {strange.argmax()} is no class of {classes.name} "
                f"(0 .. {classes.count - 1}, {classes.void} is void); "
                "correct the label map or choose other --classes"
            )
    height, width = network["resolution"]
    return Scored(PictureFiles(paths, (height, width), crop=False), files, classes)


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
