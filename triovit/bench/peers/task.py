"""What is measured: a float network, pictures to calibrate with, pictures and labels to score with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quant.checkpoints import load
from quant.data import PictureFiles, digits, list_pictures
from quant.label_maps import LabelFiles, label_files
from quant.networks.model import EfficientViT
from sim.scoring.classes import CAMVID
from sim.scoring.scores import MeanIoU, Scorer, Top1
from triovit.errors import UserError
from triovit.progress import Progress

#: Where checkpoints and pictures are: beside the project.
SHARED = Path(__file__).parents[4] / "shared"
#: Pictures to calibrate with, evenly taken: all of CamVid's.
CALIBRATION = 64
#: The networks; height and width of their pictures where none are asked for.
RESOLUTIONS = {"seg-b0": (384, 512), "b0": (224, 224), "digits": (32, 32)}


@dataclass(frozen=True)
class Task:
    """One network with its pictures."""

    network: EfficientViT
    #: uint8 ``[N, 3, H, W]``.
    calibration: NDArray[np.uint8]
    #: Slices are uint8 ``[n, 3, H, W]``; read when asked for, for they may be many.
    pictures: PictureFiles | NDArray[np.uint8]
    #: Slices are classes, int ``[n]``, or n label maps uint8 ``[h, w]``.
    labels: LabelFiles | NDArray[np.int64]
    #: Makes a new scorer.
    scorer: Callable[[], Scorer]


def task(network: str, resolution: tuple[int, int], shared: Path, progress: Progress) -> Task:
    """Load ``seg-b0`` with CamVid, ``b0`` with Imagenette or the built-in ``digits``, for pictures of that height and width.

    Raises
    ------
    UserError
        A checkpoint or folder of pictures is missing under ``shared``, or the network does not take that size.
    """
    if network == "digits":
        return _digits(resolution)
    models, data = shared / "models", shared / "data"
    if network == "b0":
        model = load(models / "efficientvit_b0_imagenette.pt", resolution)
        chosen, _, _ = list_pictures(data / "imagenette" / "calib", CALIBRATION)
        paths, classes, _ = list_pictures(data / "imagenette" / "val")
        if classes is None:
            raise UserError(f"{data / 'imagenette' / 'val'}: has no classes; put the pictures into one folder a class")
        return Task(model, PictureFiles(chosen, resolution).read(progress), PictureFiles(paths, resolution), classes, Top1)
    model = load(models / "efficientvit_seg_b0_cityscapes.pt", resolution)
    chosen, _, _ = list_pictures(data / "camvid" / "calib", CALIBRATION)
    paths, _, _ = list_pictures(data / "camvid" / "val")
    return Task(
        model,
        PictureFiles(chosen, resolution, crop=False).read(progress),
        PictureFiles(paths, resolution, crop=False),
        label_files(data / "camvid" / "val_labels", paths),
        lambda: MeanIoU(CAMVID),
    )


def _digits(resolution: tuple[int, int]) -> Task:
    model, split = load("digits"), digits()
    if resolution != model.spec.resolution:
        height, width = model.spec.resolution
        raise UserError(f"digits: has pictures of {width}x{height} only; leave out --size")
    return Task(model, split.train[:CALIBRATION], split.held_out, split.held_out_labels, Top1)
