"""The whole road on the built-in network: inspect, quantize, evaluate, generate, simulate, report."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from triovit import files, pictures
from triovit.output import plain
from triovit.progress import Progress

STEPS = ("inspect", "quantize", "evaluate", "generate", "simulate", "report")

#: Pictures to calibrate with, of the training split.
CALIBRATION = 256


def demo(directory: Path, images: int, config_name: str, progress: Progress) -> dict[str, Any]:
    """Walk the road with ``images`` held-out digits into ``directory``; return what ``summary.json`` there then holds.

    Raises
    ------
    UserError
        A tool that simulation needs is missing, the configuration is unknown or ``directory`` cannot be written.
    """
    from hw.config import configuration
    from hw.generate import generate
    from quant.checkpoints import load
    from quant.inspect import layer_table
    from quant.quantize import quantize
    from sim import toolchain
    from sim.evaluate import evaluate
    from sim.golden.model import GoldenModel
    from sim.report import write_report
    from sim.simulate import simulate
    from triovit import float_network

    toolchain.environment()
    config = configuration(config_name)
    (directory / "summary.json").unlink(missing_ok=True)
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start = time.perf_counter()
        progress("demo", len(seconds), len(STEPS))
        yield
        seconds[name] = round(time.perf_counter() - start, 3)

    with step("inspect"):
        network = load(pictures.DIGITS)
        table = layer_table(network.spec)
        files.write_json(directory / "layers.json", table.to_dict())
    with step("quantize"):
        size = network.spec.resolution
        artifact = quantize(network, pictures.calibration(pictures.DIGITS, size, CALIBRATION, progress), progress=progress)
        held_out = pictures.labelled(pictures.DIGITS, size, None, progress)
        artifact.float_score = float_network.score(network, held_out.pictures, held_out.labels, progress)
        artifact.save(directory / "artifact")
    with step("evaluate"):
        evaluation = evaluate(GoldenModel(artifact), held_out.pictures, held_out.labels, progress=progress)
        files.write_json(directory / "evaluation.json", plain(evaluation))
    with step("generate"):
        generate(artifact, config, directory / "hardware")
    with step("simulate"):
        simulation = simulate(artifact, directory / "hardware", held_out.pictures[:images], progress=progress)
        files.write_json(directory / "simulation.json", plain(simulation))
    with step("report"):
        write_report(directory, directory / "report.html")
    progress("demo", len(STEPS), len(STEPS))

    summary = {
        "bit_exact": simulation.comparison.equal,
        "images": images,
        "layers_compared": simulation.comparison.layers,
        "mismatches": simulation.comparison.mismatches,
        "first_difference": plain(simulation.comparison.first),
        "cycles": simulation.cycles,
        "cycles_predicted": simulation.cycles_predicted,
        "macs": table.macs,
        "utilization": simulation.utilization,
        "float_accuracy": evaluation.float_score,
        "int_accuracy": evaluation.int_score,
        "verilog": str(next((directory / "hardware").glob("*.v"))),
        "report": str(directory / "report.html"),
        "configuration": config.name,
        "seconds": seconds,
    }
    files.write_json(directory / "summary.json", plain(summary))
    return summary
