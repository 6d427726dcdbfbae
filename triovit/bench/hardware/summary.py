"""All cases of the accelerator's bench, and the summary that they make: build/bench/summary.json (docs/benchmarks.md)."""

import os
import platform
from collections.abc import Callable
from dataclasses import asdict

from triovit.bench.command import Case, Rows
from triovit.bench.hardware.plan import BOARD, CLOCK_MHZ, DESIGN, LATENCY, NETWORKS, Network
from triovit.bench.hardware.runner import HardwareRunner, tools
from triovit.bench.runner import Result

#: Where a result says why it has no numbers.
_REASONS = ("missing", "error")


def cases() -> list[Case]:
    """Every row, quick ones first."""
    found = [
        Case("design", {"config": DESIGN}, lambda runner: runner.design(DESIGN)),
        Case("netlist", {"config": DESIGN}, lambda runner: runner.netlist(DESIGN), long=True),
    ]
    found += [Case("model", {"network": network.name}, _modelled(network)) for network in NETWORKS]
    for network in NETWORKS:
        if network.rtl == "never":
            continue
        for run, batch in _runs(network):
            about = {"network": network.name, "run": run}
            found.append(Case("rtl", about, _simulated(network, batch), long=network.rtl == "named"))
    return found


def _runs(network: Network) -> list[tuple[str, int]]:
    return [("single", 1), *([("steady", network.batch)] if network.batch > 1 else [])]


def _modelled(network: Network) -> Callable[[HardwareRunner], Result]:
    return lambda runner: runner.model(network)


def _simulated(network: Network, batch: int) -> Callable[[HardwareRunner], Result]:
    """A run in RTL, with what building its simulator took; what the compiler refuses is not quantized."""

    def take(runner: HardwareRunner) -> Result:
        modelled = runner.model(network)
        refused = modelled.get("steady_error") if batch > 1 else None
        if _why(modelled) or refused:
            return {"error": refused} if refused else _why(modelled)
        artifact = runner.artifact(network)
        if "artifact" not in artifact:
            return artifact
        built = runner.build(network.config)
        if _why(built):
            return built
        found = runner.rtl(network, artifact, batch)
        return found if _why(found) else {**found, "build": built}

    return take


def _why(result: Result) -> Result:
    """The part of a result that says why it has no numbers; nothing where it has."""
    return {name: result[name] for name in _REASONS if name in result}


def summarise(rows: Rows) -> Result:
    """The summary of all cases and their results."""
    found = {case.name: result for case, result in rows}
    networks = {network.name: _network(network, found) for network in NETWORKS}
    return {
        "versions": {"python": platform.python_version(), **tools()},
        "cores": len(os.sched_getaffinity(0)),
        "clock_mhz": CLOCK_MHZ,
        "memory": {"latency": LATENCY, "beats_per_cycle": 1},
        "networks": networks,
        "design": _design(found[f"design/{DESIGN}"], found.get(f"netlist/{DESIGN}", {}), networks),
    }


def _network(network: Network, found: dict[str, Result]) -> Result:
    """What is known of a network; fields whose measurement is missing are null, and ``why`` has the reasons."""
    modelled = found[f"model/{network.name}"]
    runs = {run: found.get(f"rtl/{network.name}/{run}", {"missing": "not measured"}) for run, _ in _runs(network)}
    single, steady = runs["single"], runs.get("steady", {"missing": "not measured"})
    measured = [row for row in (single, steady) if "cycles" in row]
    ideal, predicted = modelled.get("ideal"), modelled.get("cycles_steady")
    cycles_steady = None if "cycles" not in steady else steady["cycles"] / steady["images"]
    return {
        "title": network.title,
        "size": network.size,
        "config": network.config,
        "rtl": network.rtl,
        "batch": network.batch,
        "macs": modelled.get("macs"),
        "ideal_cycles": ideal,
        "bit_exact": all(row["bit_exact"] for row in measured) if measured else None,
        "layers_compared": min(row["layers_compared"] for row in measured) if measured else None,
        "values_compared": sum(row["values_compared"] for row in measured) if measured else None,
        "first_difference": next((row["first_difference"] for row in measured if not row["bit_exact"]), None),
        "cycles_steady": cycles_steady,
        "cycles_single": single.get("cycles"),
        "cycles_predicted": predicted,
        "cycles_predicted_single": modelled.get("cycles_single"),
        "cycles_predicted_backbone": modelled.get("backbone"),
        "utilization": steady.get("utilization"),
        "utilization_single": single.get("utilization"),
        "utilization_predicted": None if predicted is None else ideal / predicted,
        "stalls": steady.get("stalls"),
        "stalls_single": single.get("stalls"),
        "sim_seconds": single.get("sim_seconds"),
        "sim_seconds_steady": steady.get("sim_seconds"),
        "build": next(({n: v for n, v in row["build"].items() if n != "peak_bytes"} for row in measured), None),
        "authors": None if network.authors is None else asdict(network.authors),
        "why": {
            name: why
            for name, why in {
                "single": _why(single),
                "steady": _why(steady) if "steady" in runs else {},
                "model": _why(modelled) or ({"error": modelled["steady_error"]} if "steady_error" in modelled else {}),
            }.items()
            if why
        },
    }


def _design(counted: Result, mapped: Result, networks: dict[str, Result]) -> Result:
    """Resources, and the operations a second of each DSP in B1's steady state, as simulated and as predicted."""
    names = ("multipliers", "array_dsp", "dsp", "bram36", "memory_lut", "multiplier_lut")
    b1 = networks["b1-224"]
    return {
        "config": DESIGN,
        **{name: counted.get(name) for name in names},
        "lut": mapped.get("lut"),
        "lut_sites": mapped.get("sites"),
        "ff": mapped.get("ff"),
        "gops_per_dsp": _gops_per_dsp(b1["macs"], b1["cycles_steady"], counted.get("dsp")),
        "gops_per_dsp_predicted": _gops_per_dsp(b1["macs"], b1["cycles_predicted"], counted.get("dsp")),
        "device": {
            "name": BOARD.part.partition("-")[0],
            "dsp": BOARD.dsps,
            "lut": BOARD.luts,
            "ff": BOARD.flip_flops,
            "bram36": BOARD.bram36,
        },
        "parts": counted.get("parts"),
        "why": _why(counted),
    }


def _gops_per_dsp(macs: int | None, cycles: float | None, dsp: int | None) -> float | None:
    if macs is None or cycles is None or dsp is None:
        return None
    return gops(macs, cycles) / dsp


def gops(macs: int, cycles: float) -> float:
    """Giga-operations a second, two for each product, at the design's clock."""
    return 2 * macs / cycles * CLOCK_MHZ / 1000
