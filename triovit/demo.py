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
    from sim.cycles.model import summary
    from sim.evaluate import evaluate
    from sim.golden.model import GoldenModel
    from sim.report import write_report
    from sim.simulate import simulate
    from triovit.replayed import compare_replay
    from triovit.run_report import keep, report_data

    toolchain.environment()
    config = configuration(config_name)
    files.check_place(directory)
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
        calibration = pictures.calibration(pictures.DIGITS, size, CALIBRATION, progress)
        held_out = pictures.held_out(size)
        artifact = quantize(network, calibration, scored=(held_out.pictures, held_out.labels), progress=progress)
        artifact.save(directory / "artifact")
    with step("evaluate"):
        evaluation = evaluate(GoldenModel(artifact), held_out.pictures, held_out.labels, progress=progress)
        replay = compare_replay(artifact, held_out.pictures[:images])
    with step("generate"):
        generate(artifact, config, directory / "hardware", summary, progress)
    with step("simulate"):
        simulation = simulate(artifact, directory / "hardware", held_out.pictures[:images], progress=progress)
    with step("report"):
        data = report_data(artifact, simulation, evaluation.int_score)
        keep(directory, data)
        report = write_report(directory, data)
    progress("demo", len(STEPS), len(STEPS))

    found = {
        "bit_exact": simulation.comparison.equal and replay.equal,
        "images": images,
        "layers_compared": simulation.comparison.layers,
        "mismatches": simulation.comparison.mismatches + replay.mismatches,
        "first_difference": replay.first or simulation.comparison.first,
        "replay_tensors_compared": replay.tensors,
        "cycles": simulation.cycles,
        "cycles_predicted": simulation.cycles_predicted,
        "macs": table.macs,
        "utilization": simulation.utilization,
        "float_accuracy": evaluation.float_score,
        "int_accuracy": evaluation.int_score,
        "verilog": str(next((directory / "hardware").glob("*.v"))),
        "report": str(report),
        "configuration": config.name,
        "seconds": seconds,
    }
    files.write_json(directory / "summary.json", plain(found))
    return found
