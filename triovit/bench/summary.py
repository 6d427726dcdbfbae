"""All cases of the quantizer's bench, and the summary that they make: build/bench-quant/summary.json."""

import os
import platform
from collections.abc import Callable

from triovit.bench import plan
from triovit.bench.command import Case, Rows
from triovit.bench.peers.tools import TOOLS
from triovit.bench.runner import Result, Runner, versions

#: Sections of the summary, in the order in which they are measured.
SECTIONS = ("accuracy", "peers", "speed", "ablation", "family")


def cases() -> list[Case]:
    """Every row, in the order of `SECTIONS`."""
    found = [
        Case("accuracy", _about(network, size, rounding=rounding), _scored(network, size, settings))
        for network in plan.NETWORKS
        for size in network.resolutions
        for rounding, settings in _ROUNDINGS.items()
    ]
    for network in plan.NETWORKS:
        inputs = (network.checkpoint, network.calibration, network.pictures, *([network.labels] if network.labels else []))
        found += [Case("peers", _about(network, tool=tool), _peer(tool, network, inputs)) for tool in TOOLS]
    found += [
        Case("speed", _about(network, size), _timed(network, size)) for network in plan.NETWORKS for size in network.resolutions
    ]
    for network in plan.NETWORKS:
        for name, title, settings in plan.ablation():
            about = {**_about(network, remedies=name), "title": title}
            found.append(Case("ablation", about, _scored(network, network.resolutions[0], settings)))
    for name in plan.FAMILY:
        height, width = plan.FAMILY_RESOLUTION
        about = {"network": name, "size": f"{width}x{height}"}
        found.append(Case("family", about, _family(name)))
    return found


_ROUNDINGS: dict[str, Result] = {"compensated": {}, "reconstructed": {"reconstruction": True}}


def conditions() -> Result:
    """What the rows have in common: versions, cores, threads."""
    return {
        "versions": {"python": platform.python_version(), **versions("torch", "numpy", "pillow")},
        "cores": len(os.sched_getaffinity(0)),
        "calibration_pictures": plan.CALIBRATION,
        "networks": {network.name: network.title for network in plan.NETWORKS},
    }


def summarise(rows: Rows) -> Result:
    """The summary of all cases and their results."""
    summary: Result = {**conditions(), **{section: [] for section in SECTIONS}}
    for case, result in rows:
        summary[case.section].append({**case.about, **result})
    return summary


def _about(network: plan.Network, resolution: tuple[int, int] | None = None, **more: str) -> Result:
    height, width = resolution or network.resolutions[0]
    return {"network": network.name, "size": f"{width}x{height}", **more}


def _quantized(runner: Runner, network: plan.Network, resolution: tuple[int, int], settings: Result) -> Result:
    return runner.quantize(network.checkpoint, network.calibration, plan.CALIBRATION, resolution, plan.complete(settings))


def _scored(network: plan.Network, resolution: tuple[int, int], settings: Result) -> Callable[[Runner], Result]:
    """Quantize and evaluate: the evaluation's fields, and ``quantize`` with the seconds and the memory of that."""

    def take(runner: Runner) -> Result:
        quantized = _quantized(runner, network, resolution, settings)
        evaluated = runner.evaluate(quantized, network.pictures, network.labels)
        costs = {name: quantized.get(name) for name in ("seconds", "cpu_seconds", "peak_bytes")}
        return evaluated if "missing" in evaluated or "error" in evaluated else {**evaluated, "quantize": costs}

    return take


def _timed(network: plan.Network, resolution: tuple[int, int]) -> Callable[[Runner], Result]:
    return lambda runner: runner.speed(_quantized(runner, network, resolution, {}), network.pictures, network.timed)


def _peer(tool: str, network: plan.Network, inputs: tuple[str, ...]) -> Callable[[Runner], Result]:
    return lambda runner: runner.peer(tool, network.name, network.resolutions[0], inputs)


def _family(name: str) -> Callable[[Runner], Result]:
    calibration = plan.NETWORKS[-1].calibration
    return lambda runner: runner.family(name, plan.FAMILY_RESOLUTION, calibration)
