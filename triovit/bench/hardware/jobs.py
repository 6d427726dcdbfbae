"""One measurement each of the accelerator, in a process of its own.

``python -m triovit.bench.hardware.jobs KIND ARGUMENTS FILE``, as `triovit.bench.jobs`, whose file stays as it is: the
kept results of the quantizer depend on it.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from triovit import files, pictures
from triovit.bench.jobs import peak_bytes
from triovit.errors import UserError
from triovit.progress import Progress, shown

#: Digits to calibrate the built-in network with.
_DIGITS_CALIBRATION = 64
#: Pictures to calibrate a network of random weights with.
_RANDOM_CALIBRATION = 16


def digits(progress: Progress, artifact: str) -> dict[str, Any]:
    """Quantize the built-in network and write the artifact."""
    from quant.checkpoints import load
    from quant.quantize import quantize

    network = load(pictures.DIGITS)
    given = pictures.calibration(pictures.DIGITS, network.spec.resolution, _DIGITS_CALIBRATION, progress)
    quantize(network, given, progress=progress).save(artifact)
    return {"pictures": len(given)}


def random(
    progress: Progress, network: str, resolution: tuple[int, int], calibration: str, settings: dict[str, Any], artifact: str
) -> dict[str, Any]:
    """Quantize a member of the family with random weights, with the quantizer's ``settings``, and write the artifact.

    Raises
    ------
    UserError
        As `quant.quantize.quantize` and `triovit.pictures.calibration`.
    """
    from quant.networks.random_weights import random_network
    from quant.networks.spec import spec
    from quant.ptq.options import Options
    from quant.quantize import quantize

    wanted = spec(network).at(resolution)
    given = pictures.calibration(calibration, wanted.resolution, _RANDOM_CALIBRATION, progress)
    quantize(random_network(wanted, given), given, Options(**settings), progress=progress).save(artifact)
    return {"pictures": len(given)}


def build(progress: Progress, config: str) -> dict[str, Any]:
    """Convert a configuration to Verilog and compile its simulator; what is found in the cache has no seconds.

    Raises
    ------
    UserError
        As `sim.bench.build.build`.
    """
    from hw import verilog
    from hw.config import configuration
    from sim.bench.build import BuildSpec
    from sim.bench.build import build as built

    wanted = configuration(config)
    cached = (verilog.CACHE / f"{wanted.name}-{verilog.content_key(wanted)}.v").exists()
    progress("build", 0, 2)
    begun = time.perf_counter()
    source = verilog.emit(wanted)
    converted = time.perf_counter()
    progress("build", 1, 2)
    found = built(BuildSpec.for_config(wanted, (source,)))
    ended = time.perf_counter()
    progress("build", 2, 2)
    return {
        "verilog_seconds": None if cached else converted - begun,
        "verilog_cached": cached,
        "verilog_bytes": source.stat().st_size,
        "build_seconds": None if found.reused else ended - converted,
        "build_cached": found.reused,
    }


def rtl(progress: Progress, artifact: str, config: str, data: str, batch: int, latency: int) -> dict[str, Any]:
    """Run ``batch`` pictures in one run of the simulated hardware and compare all layers with the golden model.

    ``cycles`` are the run's, from its start to its end. What the cycle model says has no part in the result.

    Raises
    ------
    UserError
        As `sim.simulate.simulate` and `triovit.pictures.calibration`.
    """
    from hw.config import configuration
    from hw.control.register_map import STALLS
    from quant.artifact import Artifact
    from sim.simulate import MemoryOptions, simulate

    loaded = Artifact.load(artifact)
    _, height, width = loaded.input_shape
    if data == pictures.DIGITS:
        given = pictures.held_out((height, width)).pictures[:batch]
    else:
        given = pictures.calibration(data, (height, width), batch, progress, task=loaded.network["task"])
    found = simulate(
        loaded.mapped(), configuration(config), given, batch=batch, memory=MemoryOptions(latency=latency), progress=progress
    )
    comparison = found.comparison
    return {
        "images": found.images,
        "bit_exact": comparison.equal,
        "layers_compared": comparison.layers,
        "values_compared": comparison.elements,
        "mismatches": comparison.mismatches,
        "first_difference": None if comparison.equal else str(comparison.first),
        "cycles": found.cycles,
        "macs": found.macs,
        "utilization": found.utilization,
        "stalls": {stall.name: found.counters[stall.name] for stall in STALLS},
        "sim_seconds": found.seconds,
    }


def model(
    progress: Progress,
    network: str,
    resolution: tuple[int, int],
    classes: int | None,
    z_bits: int | None,
    config: str,
    batch: int,
    latency: int,
) -> dict[str, Any]:
    """What the cycle model says of a network, of one picture and of ``batch`` pictures in a run.

    ``cycles`` are a picture's; the steady ones are the run's divided by its pictures, all of it included. A batch that cannot be
    mapped has ``steady_error``. ``backbone`` are the cycles of one picture alone until its last layer before the head has ended.

    Raises
    ------
    UserError
        The compiler refuses the network.
    """
    from hw.compiler.compile import compile_network
    from hw.config import configuration
    from quant.blank import blank_artifact
    from quant.networks.spec import spec
    from sim.cycles.model import Memory, predict

    wanted, memory = configuration(config), Memory(latency)
    member = spec(network).at(resolution)
    blank = blank_artifact(member if classes is None else replace(member, classes=classes))
    if z_bits is not None:
        blank = replace(
            blank,
            layers=[
                replace(layer, attrs={**layer.attrs, "z_bits": z_bits}) if layer.kind == "attention" else layer
                for layer in blank.layers
            ],
        )
    artifact = blank.mapped()
    one = predict(compile_network(artifact, wanted), memory)
    result: dict[str, Any] = {
        "macs": one.macs,
        "ideal": one.macs / wanted.multipliers,
        "cycles_single": one.cycles,
        "backbone": max(end for layer, (_, end) in one.layers().items() if not layer.startswith("head.")),
        "weight_beats": one.weight_beats,
        "batch": batch,
        "cycles_steady": None,
    }
    try:
        result["cycles_steady"] = predict(compile_network(artifact, wanted, batch), memory).cycles / batch
    except UserError as error:
        result["steady_error"] = str(error)
    return result


def design(progress: Progress, config: str) -> dict[str, Any]:
    """The multipliers and memories of a configuration, counted part by part (`hw.resources`)."""
    from hw.config import configuration
    from hw.engines.mac_block import MacBlock
    from hw.resources import breakdown, estimate

    wanted = configuration(config)
    blocks = MacBlock.resources(wanted.n, wanted.m) + MacBlock.resources(wanted.t, wanted.s)
    parts = {**breakdown(wanted), "total": estimate(wanted)}
    counted = {
        name: {"dsp": part.dsp, "bram36": part.bram36, "memory_lut": part.lutram, "multiplier_lut": part.lutmul}
        for name, part in parts.items()
    }
    total = counted.pop("total")
    return {
        "multipliers": wanted.multipliers,
        "array_dsp": (blocks * wanted.l).dsp,
        "dsp": total["dsp"],
        "bram36": total["bram36"],
        "memory_lut": total["memory_lut"],
        "multiplier_lut": total["multiplier_lut"],
        "parts": counted,
    }


def netlist(progress: Progress, config: str) -> dict[str, Any]:
    """A configuration as Yosys maps it, part by part (`hw.resources.netlist`).

    Raises
    ------
    UserError
        Yosys is missing or failed.
    """
    from hw.config import configuration
    from hw.resources.netlist import Cells, by_part, measure

    rows = measure(configuration(config), lambda line: progress(line, 0, 1))
    parts = by_part(rows)
    names = ("lut", "sites", "logic", "memory", "shift", "ff", "carry4", "dsp", "bram36")
    counted = {
        part: {name: getattr(cells, name) for name in names}
        for part, cells in {**parts, "total": sum(parts.values(), Cells())}.items()
    }
    return {**counted.pop("total"), "parts": counted}


_KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "digits": digits, "random": random, "build": build, "rtl": rtl, "model": model, "design": design,
    "netlist": netlist,
}  # fmt: skip


def main(words: list[str]) -> int:
    """Take one measurement. What the user can mend, or the compiler refuses, is ``{"error": its line}``."""
    kind, text, file = words
    # JSON has no tuples, and height and width are one.
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}
    with shown() as progress:
        try:
            result = _KINDS[kind](progress, **arguments)
        except UserError as error:
            result = {"error": str(error)}
    files.write_json(file, {**result, "peak_bytes": peak_bytes()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
