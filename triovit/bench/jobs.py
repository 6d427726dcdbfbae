"""One measurement each, taken in a process of its own: ``python -m triovit.bench.jobs KIND ARGUMENTS FILE``.

The arguments are one JSON object of what KIND's function takes; what it returns goes to FILE as JSON, with the process's peak
memory.
"""

import hashlib
import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from triovit import files, pictures
from triovit.errors import InternalError, UserError
from triovit.output import plain
from triovit.progress import Progress, shown

#: Of so many runs the fastest counts.
_RUNS = 3
#: Pictures that a network of random weights is calibrated with, and its logits compared on.
_RANDOM_CALIBRATION, _RANDOM_COMPARED = 16, 8


def quantize(
    progress: Progress,
    checkpoint: str,
    calibration: str,
    count: int,
    resolution: tuple[int, int],
    settings: dict[str, Any],
    artifact: str,
    state: str,
) -> dict[str, Any]:
    """Quantize a checkpoint with ``count`` pictures and write the artifact; times are the quantizer's alone.

    A reconstruction keeps its blocks in ``state``. One that went on from there has no times, for they are not those of the whole.

    Raises
    ------
    UserError
        As `quant.quantize.quantize` and `triovit.pictures.calibration`.
    """
    from quant.artifact import MANIFEST
    from quant.checkpoints import load
    from quant.ptq.options import Options
    from quant.quantize import quantize as quantized

    network = load(checkpoint, resolution)
    given = pictures.calibration(calibration, resolution, count, progress, task=network.spec.task)
    place = Path(state) if settings["reconstruction"] else None
    resumed = place is not None and place.exists()
    watch = _Watch()
    made = quantized(network, given, Options(**settings), state=place, progress=progress)
    times = {name: None if resumed else value for name, value in watch.read().items()}
    result = {"pictures": len(given), **times}
    made.save(artifact)
    if place is not None:
        shutil.rmtree(place)
    return {**result, "sha256": _computed(Path(artifact) / MANIFEST)}


def evaluate(progress: Progress, artifact: str, data: str, labels: str | None) -> dict[str, Any]:
    """Score an artifact and its float network as ``triovit evaluate`` does.

    Raises
    ------
    UserError
        As `triovit.pictures.to_score` and `sim.evaluate.evaluate`.
    """
    from quant.artifact import Artifact
    from sim.evaluate import evaluate as evaluated
    from sim.golden.model import GoldenModel
    from triovit import float_network

    loaded = Artifact.load(artifact)
    given = pictures.to_score(data, labels, loaded.network, None, progress)
    network = float_network.beside(loaded, Path(artifact))
    found = evaluated(
        GoldenModel(loaded), given.pictures, given.labels, classes=given.classes, float_network=network, progress=progress
    )
    result: dict[str, Any] = plain(found)
    return result


def speed(progress: Progress, artifact: str, data: str, count: int) -> dict[str, Any]:
    """Time the golden model over ``count`` pictures, one by one, and the float network over the same; the fastest run of each.

    Raises
    ------
    UserError
        As `triovit.pictures.calibration`.
    """
    from quant.artifact import Artifact
    from sim.evaluate import Network
    from sim.golden.model import GoldenModel
    from triovit import float_network

    loaded = Artifact.load(artifact)
    model, network = GoldenModel(loaded), float_network.beside(loaded, Path(artifact))
    if network is None:
        raise InternalError(f"{artifact}: has no float network")
    _, height, width = loaded.input_shape
    given = pictures.calibration(data, (height, width), count, progress, task=loaded.network["task"])
    networks: dict[str, Network] = {"golden": lambda part: model.run(part, keep_all=False).output, "float": network}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for done in range(_RUNS):
        progress("timing", done, _RUNS)
        for name, run in networks.items():
            start = time.perf_counter()
            for index in range(len(given)):
                run(given[index : index + 1])
            times[name].append(time.perf_counter() - start)
    progress("timing", _RUNS, _RUNS)
    return {"images": len(given), **{f"{name}_images_per_second": len(given) / min(taken) for name, taken in times.items()}}


def family(progress: Progress, name: str, resolution: tuple[int, int], calibration: str, artifact: str) -> dict[str, Any]:
    """Quantize a member of the family with random weights, write the artifact, and compare its golden logits with the float ones.

    ``sqnr`` is in dB; ``parameters`` and ``macs`` are counts of the member with its own number of classes.

    Raises
    ------
    UserError
        As `quant.quantize.quantize` and `triovit.pictures.calibration`.
    """
    from quant.artifact import Artifact
    from quant.inspect import layer_table
    from quant.networks.random_weights import random_network
    from quant.networks.spec import spec
    from quant.quantize import quantize as quantized
    from sim.golden.model import GoldenModel
    from triovit.float_network import FloatNetwork

    wanted = spec(name).at(resolution)
    table = layer_table(wanted)
    given = pictures.calibration(calibration, wanted.resolution, _RANDOM_CALIBRATION + _RANDOM_COMPARED, progress)
    # Every third is compared, so that both have pictures of all folders.
    compared = np.arange(len(given)) % 3 == 2
    network = random_network(wanted, given[~compared])
    watch = _Watch()
    quantized(network, given[~compared], progress=progress).save(artifact)
    result = watch.read()
    loaded = Artifact.load(artifact)
    start = time.perf_counter()
    found = GoldenModel(loaded).run(given[compared], keep_all=False).output * loaded.layer(loaded.output).output_scale
    seconds = time.perf_counter() - start
    exact = FloatNetwork(network)(given[compared]).astype(np.float64)
    return {
        "parameters": table.parameters,
        "macs": table.macs,
        "sqnr": 10 * math.log10(float((exact**2).sum() / ((exact - found) ** 2).sum())),
        "calibrated": int((~compared).sum()),
        "compared": int(compared.sum()),
        **result,
        "golden_seconds": seconds,
    }


_KINDS: dict[str, Callable[..., dict[str, Any]]] = {"quantize": quantize, "evaluate": evaluate, "speed": speed, "family": family}


class _Watch:
    """Seconds since it was made: ``seconds`` by the clock, ``cpu_seconds`` of all cores that this process used."""

    def __init__(self) -> None:
        self._start, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._start, "cpu_seconds": time.process_time() - self._cpu}


def peak_bytes() -> int:
    """The most memory that this process has held.

    From the kernel's ``VmHWM``, for ``getrusage`` hands on the peak of the process that started this one.
    """
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _computed(manifest: Path) -> str:
    """Hash of what an artifact computes: settings and the report's ranges left out, layers and arrays kept."""
    content = json.loads(manifest.read_text(encoding="utf-8"))
    parts = [content[name] for name in ("network", "input", "layers", "output", "files")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _arguments(text: str) -> dict[str, Any]:
    """JSON has no tuples, and height and width are one."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}


def main(words: list[str]) -> int:
    """Take one measurement. What the quantizer refuses is an outcome, too: ``{"error": its line}``."""
    kind, arguments, file = words
    with shown() as progress:
        try:
            result = _KINDS[kind](progress, **_arguments(arguments))
        except UserError as error:
            result = {"error": str(error)}
    files.write_json(file, {**result, "peak_bytes": peak_bytes()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
