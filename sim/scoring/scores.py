"""Scores that grow picture by picture, so that no logits need to be kept."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sim.scoring.classes import LabelClasses
from sim.scoring.upsample import bilinear

Logits = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]
Classes = NDArray[np.integer[Any]]


class Scorer(Protocol):
    """Scores one network."""

    #: ``top1`` or ``miou``.
    metric: str

    def add(self, logits: Logits, labels: Sequence[Classes] | Classes) -> list[Classes]:
        """Score a batch; return the network's class of everything that is labelled, one array a picture."""

    @property
    def score(self) -> float:
        """The metric of all that was added, in [0, 1]; NaN before anything was."""

    @property
    def pixel_accuracy(self) -> float | None:
        """The share of right pixels in [0, 1]; None for a classifier."""


class Top1:
    """The share of pictures whose largest logit is the label's; the lowest class wins a tie."""

    metric = "top1"
    pixel_accuracy = None

    def __init__(self) -> None:
        self._right = self._all = 0

    def add(self, logits: Logits, labels: Sequence[Classes] | Classes) -> list[Classes]:
        """Score logits ``[N, classes]`` with int labels ``[N]``; return the classes, N scalars."""
        classes = logits.argmax(axis=1)
        self._right += int(np.sum(classes == np.asarray(labels)))
        self._all += len(classes)
        return list(classes)

    @property
    def score(self) -> float:
        """The share of right pictures."""
        return self._right / self._all if self._all else float("nan")


class MeanIoU:
    """Intersection over union, the mean of the label's classes, from one confusion matrix of all pictures.

    Each picture's logits are brought to its label map's size (bilinear), the class of the largest is taken (the lowest wins)
    and becomes the label's class. Void pixels are ignored. A class that neither labels nor predictions hold has no
    intersection over union and does not count.
    """

    metric = "miou"

    def __init__(self, classes: LabelClasses) -> None:
        self.classes = classes
        #: int64 ``[label's class, predicted class]``, pixels.
        self.confusion = np.zeros((classes.count, classes.count), np.int64)
        self._table = np.array(classes.of_network, np.uint8)
        # One bin more than classes, into which void falls.
        self._truth = np.full(256, classes.count, np.int64)
        self._truth[: classes.count] = np.arange(classes.count)
        self._truth[classes.void] = classes.count

    def add(self, logits: Logits, labels: Sequence[Classes] | Classes) -> list[Classes]:
        """Score logits ``[N, network's classes, h, w]`` with N label maps uint8 ``[H, W]``, each of its own size.

        Return the network's classes, N arrays uint8 ``[H, W]``.
        """
        found: list[Classes] = []
        for one, truth in zip(logits, labels, strict=True):
            classes = bilinear(one, (truth.shape[0], truth.shape[1])).argmax(axis=0).astype(np.uint8)
            self.add_classes(classes, truth)
            found.append(classes)
        return found

    def add_classes(self, classes: Classes, truth: Classes) -> None:
        """Score one picture by the network's class of each pixel, uint8 ``[H, W]``, with its label map, uint8 ``[H, W]``."""
        count = self.classes.count
        pairs = self._truth[truth] * count + self._table[classes]
        self.confusion += np.bincount(pairs.ravel(), minlength=(count + 1) * count).reshape(count + 1, count)[:count]

    @property
    def ious(self) -> NDArray[np.float64]:
        """Each class's intersection over union, float64 ``[classes]``; NaN for one that is nowhere."""
        right = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - right
        return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)

    @property
    def score(self) -> float:
        """The mean intersection over union."""
        ious = self.ious
        return float(np.nanmean(ious)) if not np.isnan(ious).all() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """The share of labelled pixels, void ones left out, whose class is right."""
        pixels = int(self.confusion.sum())
        return int(np.trace(self.confusion)) / pixels if pixels else float("nan")
