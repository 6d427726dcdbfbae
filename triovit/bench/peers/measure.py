"""One tool on one task: the float network's score, the quantized one's, and how often they agree."""

import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sim.scoring.scores import Classes
from triovit.bench.peers.task import Task
from triovit.bench.peers.tools import Quantize
from triovit.progress import Progress


@dataclass(frozen=True)
class Measured:
    """What `measure` found; of a tool that failed, ``score`` and ``agreement`` are None and ``error`` quotes it."""

    metric: str
    #: In [0, 1].
    float_score: float
    score: float | None
    #: The share of pictures, or of all pixels of the label maps, of which both networks name the same class.
    agreement: float | None
    seconds_quantize: float | None
    error: str | None


def measure(task: Task, quantize: Quantize, setting: str, progress: Progress) -> Measured:
    """Score the float network, quantize it with ``quantize`` and score that.

    Whatever the tool raises is an outcome, not a failure: it is quoted in ``error``.
    """
    metric, float_score, float_classes = _score(task.network, task, "float network", progress)
    seconds = None
    try:
        start = time.perf_counter()
        # Standard output is the result's; the tools draw and log there.
        with redirect_stdout(sys.stderr):
            quantized = quantize(task.network, _inputs(task.network, task.calibration), setting)
            seconds = time.perf_counter() - start
            _, score, classes = _score(quantized, task, "quantized network", progress)
    except Exception as error:
        return Measured(metric, float_score, None, None, seconds, f"{type(error).__name__}: {error}")
    same = np.concatenate([(one == other).ravel() for one, other in zip(classes, float_classes, strict=True)])
    return Measured(metric, float_score, score, float(same.mean()), seconds, None)


def _inputs(network: torch.nn.Module, pictures: NDArray[np.uint8]) -> list[Tensor]:
    """The network's input for each picture, float ``[1, 3, H, W]``."""
    return [network.normalise(torch.from_numpy(pictures[index : index + 1])) for index in range(len(pictures))]


def _score(run: Callable[[Tensor], Tensor], task: Task, stage: str, progress: Progress) -> tuple[str, float, list[Classes]]:
    """The metric, the score, and the class of every picture or pixel; one picture at a time, as the tools trace the network."""
    scorer, classes, count = task.scorer(), [], len(task.pictures)
    progress(stage, 0, count)
    with torch.no_grad():
        for index in range(count):
            part = slice(index, index + 1)
            (given,) = _inputs(task.network, task.pictures[part])
            classes += scorer.add(run(given).numpy(), task.labels[part])
            progress(stage, index + 1, count)
    return scorer.metric, scorer.score, classes
