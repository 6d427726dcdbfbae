"""How well the integer model predicts, over many pictures, beside the float network."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sim.golden.model import GoldenModel
from sim.scoring.classes import LabelClasses, network_classes
from sim.scoring.scores import Classes, Logits, MeanIoU, Scorer, Top1
from triovit.errors import UserError
from triovit.progress import Progress, silent

_STAGE = "evaluate"
#: Pixel values in a batch: few enough that the wide tensors of a layer stay near the processor's caches.
_BATCH_VALUES = 1 << 18

#: A network: uint8 ``[N, 3, H, W]`` to logits ``[N, classes]`` or ``[N, classes, h, w]``.
Network = Callable[[NDArray[np.uint8]], Logits]


class Pictures(Protocol):
    """Pictures uint8 ``[N, 3, H, W]``: an array, a memory map, or files that are read as slices are taken."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]:
        """Some of them."""


class LabelMaps(Protocol):
    """Label maps uint8 ``[H, W]``, one a picture, each of its own size."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, part: slice, /) -> Sequence[NDArray[np.uint8]]:
        """Some of them."""


Labels = NDArray[np.integer[Any]] | LabelMaps


@dataclass(frozen=True)
class Evaluation:
    """Scores of one network on one set of pictures; every share is in [0, 1]."""

    #: ``top1`` or ``miou``; see `sim.scoring.scores.Top1` and `sim.scoring.scores.MeanIoU`.
    metric: str
    int_score: float
    #: The float network's score on these pictures, or the one that the artifact carries, or None.
    float_score: float | None
    #: The share of pictures (``miou``: of all pixels of the label maps, void ones included) to which the integer and the float
    #: network give the same of the network's classes; None without float network.
    agreement: float | None
    images: int
    #: Of the integer model alone: reading, float network and scoring not counted.
    images_per_second: float
    #: The shares of right pixels; None for ``top1``.
    int_pixel_accuracy: float | None = None
    float_pixel_accuracy: float | None = None
    #: Name of the label's classes; None for ``top1``.
    classes: str | None = None


def evaluate(
    model: GoldenModel,
    pictures: Pictures,
    labels: Labels,
    *,
    classes: LabelClasses | None = None,
    float_network: Network | None = None,
    batch: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Run all pictures in batches and score them as they come; no logits are kept.

    Parameters
    ----------
    model
        A classifier, whose output is ``[N, classes]``, or a segmentation network's, ``[N, classes, h, w]``.
    pictures
        uint8 ``[N, 3, H, W]``, sliced batch by batch.
    labels
        For a classifier int ``[N]`` in [0, classes), else label maps.
    classes
        What the label maps' values mean; by default they are in the network's own numbering.
    float_network
        Run on the same pictures.
    batch
        Pictures at a time, at least 1; chosen by their size when None.
    progress
        Called as ``progress("evaluate", pictures done, pictures)``.

    Raises
    ------
    UserError
        No pictures, pictures that do not fit the network, labels that do not fit the pictures, or a network without logits.
    """
    if batch is None:
        batch = _batch(model.artifact.input_shape)
    if batch < 1:
        raise UserError(f"batch is {batch}, and must be at least 1")
    ours, theirs = (_scorer(model, classes) for _ in range(2))
    _require_labels(pictures, labels, model.artifact.layer(model.artifact.output).output_shape)

    same = counted = 0
    seconds = 0.0
    progress(_STAGE, 0, len(pictures))
    for part in _parts(len(pictures), batch):
        given, truth = np.asarray(pictures[part]), labels[part]
        start = time.perf_counter()
        logits = model.run(given, keep_all=False).output
        seconds += time.perf_counter() - start
        found = ours.add(logits, truth)
        if float_network is not None:
            beside = theirs.add(float_network(given), truth)
            same += sum(int(np.sum(one == two)) for one, two in zip(found, beside, strict=True))
            counted += sum(one.size for one in found)
        progress(_STAGE, part.stop, len(pictures))

    measured = float_network is not None
    return Evaluation(
        metric=ours.metric,
        int_score=ours.score,
        float_score=theirs.score if measured else _recorded(model, ours.metric),
        agreement=same / counted if measured else None,
        images=len(pictures),
        images_per_second=len(pictures) / seconds,
        int_pixel_accuracy=ours.pixel_accuracy,
        float_pixel_accuracy=theirs.pixel_accuracy if measured else None,
        classes=ours.classes.name if isinstance(ours, MeanIoU) else None,
    )


def score(network: Network, pictures: Pictures, labels: Labels, scorer: Scorer, progress: Progress = silent) -> None:
    """Add to ``scorer`` what a float network says about all pictures, batch by batch."""
    stage = "scoring the float network"
    progress(stage, 0, len(pictures))
    batch = _batch(pictures[:1].shape[1:])
    for part in _parts(len(pictures), batch):
        scorer.add(network(np.asarray(pictures[part])), labels[part])
        progress(stage, part.stop, len(pictures))


def _batch(shape: tuple[int, ...]) -> int:
    return max(1, _BATCH_VALUES // math.prod(shape))


def _parts(images: int, batch: int) -> list[slice]:
    return [slice(first, min(first + batch, images)) for first in range(0, images, batch)]


def _scorer(model: GoldenModel, classes: LabelClasses | None) -> Scorer:
    artifact = model.artifact
    shape, wanted = artifact.layer(artifact.output).output_shape, artifact.network.get("classes")
    if shape[0] != wanted:
        raise UserError(
            f"network {artifact.network.get('name')}: its output {artifact.output} has {shape[0]} channels, and not one for each "
            f"of {wanted} classes, so it cannot be scored; quantize the network again"
        )
    return Top1() if len(shape) == 1 else MeanIoU(classes or network_classes(shape[0]))


def _recorded(model: GoldenModel, metric: str) -> float | None:
    """The float network's score that the artifact carries, if it is of this metric."""
    recorded = model.artifact.float_score
    return float(recorded["score"]) if "score" in recorded and recorded.get("metric") == metric else None


def _require_labels(pictures: Pictures, labels: Labels, output_shape: tuple[int, ...]) -> None:
    images = len(pictures)
    if images == 0:
        raise UserError("there are no pictures to evaluate; give at least one")
    if len(output_shape) == 1:
        _require_classes(labels, images, output_shape[0])
    elif isinstance(labels, np.ndarray) and labels.ndim != 3:
        raise UserError(f"the labels are {labels.dtype} {list(labels.shape)}, and must be label maps, one for each picture")
    elif len(labels) != images:
        raise UserError(f"there are {len(labels)} label maps for {images} pictures; give one for each picture")


def _require_classes(labels: Labels | Classes, images: int, classes: int) -> None:
    if not isinstance(labels, np.ndarray) or labels.shape != (images,) or labels.dtype.kind not in "iu":
        found = f"{labels.dtype} {list(labels.shape)}" if isinstance(labels, np.ndarray) else "label maps"
        raise UserError(f"the labels are {found}, and must be integers [{images}]: one for each picture")
    if labels.min() < 0 or labels.max() >= classes:
        found = f"{labels.min()} .. {labels.max()}"
        raise UserError(f"the labels span {found}, and the network has {classes} classes; number them 0 .. {classes - 1}")
