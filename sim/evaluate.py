"""How well the integer model predicts, over many pictures."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.golden.model import GoldenModel
from triovit.errors import UserError
from triovit.progress import Progress, silent

_STAGE = "evaluate"
#: Pixel values in a batch: few enough that the int64 tensors of a layer stay near the processor's caches.
_BATCH_VALUES = 1 << 18


@dataclass(frozen=True)
class Evaluation:
    """Scores of one network on one set of pictures."""

    #: Always ``top1``: the share of pictures whose largest logit is the label's; the lowest class wins a tie.
    metric: str
    #: In [0, 1].
    int_score: float
    #: The float network's score that the artifact carries, if any.
    float_score: float | None
    #: The share of pictures on which integer and float network predict the same class, if float predictions were given.
    agreement: float | None
    images: int
    images_per_second: float


def evaluate(
    model: GoldenModel,
    pictures: NDArray[np.uint8],
    labels: NDArray[np.integer[Any]],
    *,
    float_predictions: NDArray[np.integer[Any]] | None = None,
    batch: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Run all pictures in batches and score the predictions.

    Parameters
    ----------
    model
        A classifier: its output is ``[N, classes]``.
    pictures
        uint8 ``[N, 3, H, W]``; a memory map is read batch by batch.
    labels
        Classes, int ``[N]`` in [0, classes).
    float_predictions
        The float network's classes on the same pictures, int ``[N]``.
    batch
        Pictures at a time, at least 1; chosen by their size when None.
    progress
        Called as ``progress("evaluate", pictures done, pictures)``.

    Raises
    ------
    UserError
        No pictures, pictures that do not fit the network, labels or predictions that do not fit the pictures, or a network whose
        metric is not top1.
    """
    manifest = model.artifact.float_score
    metric = str(manifest.get("metric", "top1"))
    if metric != "top1":
        raise UserError(f"metric {metric!r} of network {model.artifact.network.get('name')} cannot be evaluated; only top1 can")
    if batch is None:
        batch = max(1, _BATCH_VALUES // math.prod(model.artifact.input_shape))
    if batch < 1:
        raise UserError(f"batch is {batch}, and must be at least 1")
    images = len(pictures)
    if images == 0:
        raise UserError("there are no pictures to evaluate; give at least one")
    classes = model.artifact.layer(model.artifact.output).output_shape[0]
    _require_classes("labels", labels, images, classes)
    if float_predictions is not None:
        _require_classes("float predictions", float_predictions, images, classes)

    predictions = np.empty(images, np.int64)
    start = time.perf_counter()
    progress(_STAGE, 0, images)
    for first in range(0, images, batch):
        part = slice(first, min(first + batch, images))
        predictions[part] = model.run(np.asarray(pictures[part]), keep_all=False).output.argmax(axis=1)
        progress(_STAGE, part.stop, images)
    seconds = time.perf_counter() - start

    score = manifest.get("score")
    return Evaluation(
        metric=metric,
        int_score=float(np.mean(predictions == labels)),
        float_score=None if score is None else float(score),
        agreement=None if float_predictions is None else float(np.mean(predictions == float_predictions)),
        images=images,
        images_per_second=images / seconds,
    )


def _require_classes(what: str, values: NDArray[np.integer[Any]], images: int, classes: int) -> None:
    if values.shape != (images,) or values.dtype.kind not in "iu":
        found = f"{values.dtype} {list(values.shape)}"
        raise UserError(f"the {what} are {found}, and must be integers [{images}]: one for each picture")
    if values.min() < 0 or values.max() >= classes:
        found = f"{values.min()} .. {values.max()}"
        raise UserError(f"the {what} span {found}, and the network has {classes} classes; number them 0 .. {classes - 1}")
