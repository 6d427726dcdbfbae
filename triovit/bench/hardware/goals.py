"""What the accelerator is to reach, beside what was measured, what is predicted and what the authors' cycle model says."""

from dataclasses import dataclass
from typing import Any

from triovit.bench.runner import Result
from triovit.bench.tables import reason

#: Largest share of the device's lookup tables, flip-flops, block RAMs and DSPs.
DEVICE_SHARE = 0.85
#: Largest ratio of predicted cycles to the products alone, for networks that are not simulated.
IDEAL_RATIO = 1.05
#: These networks, and what the figure calls them.
_BY_MODEL = {"b1-256": "B1-R256", "b1-288": "B1-R288", "b2-224": "B2-R224", "b2-224-z8": "B2-R224, Z of 8 bits"}


@dataclass(frozen=True)
class Goal:
    """One figure: what it is to be, and what it is; texts, empty where there is nothing to say."""

    figure: str
    goal: str
    measured: str
    predicted: str
    authors: str
    #: ``met``, ``missed`` or ``open``, the last where nothing has been measured that decides it.
    state: str


def goals(summary: Result) -> list[Goal]:
    """Every figure, in the order of the page."""
    networks, design = summary["networks"], summary["design"]
    b1 = networks["b1-224"]
    found = [_exact(networks[name]) for name in ("b1-224", "b0-224", "seg-b0-512x384")]
    found.append(_cycles("B1-R224, cycles a picture, steady state", 267_000, b1, "steady", b1["authors"]["cycles"]))
    found.append(_cycles("B1-R224, cycles of a single picture", 330_000, b1, "single", None))
    found += [_ratio(short, networks[name]) for name, short in _BY_MODEL.items()]
    found += _design(design, summary["clock_mhz"], b1)
    found.append(_seconds("one picture of B1-R224 simulated, seconds", 120, b1["sim_seconds"], b1, ""))
    build = b1["build"] or {}
    parts = [build.get("verilog_seconds"), build.get("build_seconds")]
    cached = "found in the cache" if build and None in parts else ""
    total = None if None in parts else sum(part for part in parts if part is not None)
    found.append(_seconds("Verilog and simulator of zcu102 made, seconds", 600, total, b1, cached))
    return found


def _exact(network: Result) -> Goal:
    measured = _missing(network, "single")
    state = "missed" if "error" in network["why"].get("single", {}) else "open"
    if network["bit_exact"] is not None:
        state = "met" if network["bit_exact"] else "missed"
        measured = f"{network['layers_compared']} layers, all equal" if network["bit_exact"] else network["first_difference"]
        gaps = [run for run in ("single", "steady") if run in network["why"]]
        measured += "".join(f"; {run}: {_missing(network, run)}" for run in gaps)
    return Goal(f"{network['title']}, {network['size']}: whole network in RTL", "bit-exact", measured, "", "", state)


def _cycles(figure: str, most: int, network: Result, run: str, authors: int | None) -> Goal:
    found = network[f"cycles_{run}"]
    predicted = network["cycles_predicted" if run == "steady" else "cycles_predicted_single"]
    return Goal(
        figure,
        f"at most {most:,}",
        _missing(network, run) if found is None else f"{found:,.0f}",
        _missing(network, "model") if predicted is None else f"{predicted:,.0f}",
        "" if authors is None else f"{authors:,} (backbone alone)",
        _state(found, most),
    )


def _ratio(short: str, network: Result) -> Goal:
    ratio, most = None, IDEAL_RATIO
    if network["cycles_predicted"] is not None:
        ratio = network["cycles_predicted"] / network["ideal_cycles"]
    return Goal(
        f"{short}, cycles by the model, steady state",
        f"at most {most:.2f} x ideal",
        "",
        _missing(network, "model") if ratio is None else f"{network['cycles_predicted']:,.0f}, {ratio:.3f} x ideal",
        f"{network['authors']['cycles']:,} (backbone alone)",
        # A network that cannot be mapped misses it, whatever the model would say.
        "missed" if ratio is None and "error" in network["why"].get("model", {}) else _state(ratio, most),
    )


def _design(design: Result, clock_mhz: int, b1: Result) -> list[Goal]:
    device = design["device"]
    if design["dsp"] is None:
        why = reason(design["why"]) or "not measured"
        return [Goal(f"resources of {design['config']}", f"fits {device['name']}", why, "", "", "open")]
    arrays, every = design["array_dsp"], design["dsp"]
    packed = design["multipliers"] / arrays
    found = [
        Goal("multipliers a DSP of the arrays", "at least 2", "", f"{packed:.2f}", "2", _state(-packed, -2)),
        Goal("DSPs of the arrays", "at most 1,024", "", f"{arrays:,}", "about 1,024", _state(arrays, 1024)),
        Goal("DSPs of all", "at most 1,120", "", f"{every:,}", "", _state(every, 1120)),
    ]
    measured, predicted = design["gops_per_dsp"], design["gops_per_dsp_predicted"]
    found.append(
        Goal(
            f"GOPS a DSP at {clock_mhz} MHz, B1-R224, steady state",
            "at least 0.69",
            _missing(b1, "steady") if measured is None else f"{measured:.3f}",
            _missing(b1, "model") if predicted is None else f"{predicted:.3f}",
            "about 0.76, of their first design",
            "open" if measured is None else _state(-measured, -0.69),
        )
    )
    for name, title in (("dsp", "DSPs"), ("bram36", "block RAMs"), ("lut", "LUTs"), ("ff", "flip-flops")):
        # A lookup table of the device holds two small functions; their legal packing is what it takes of them.
        paired = name == "lut" and design["lut_sites"] is not None
        used, most = design["lut_sites" if paired else name], DEVICE_SHARE
        share = None if used is None else used / device[name]
        text = "not measured" if share is None else f"{share:.1%}"
        if paired:
            text += f", {design[name] / device[name]:.1%} with one for each function"
        figure = f"share of the {device['name']}'s {title}"
        found.append(Goal(figure, f"at most {most:.0%}", "", text, "not published", _state(share, most)))
    return found


def _seconds(figure: str, most: int, found: float | None, network: Result, why: str) -> Goal:
    text = why or _missing(network, "single") if found is None else f"{found:,.0f}"
    return Goal(figure, f"at most {most:,}", text, "", "", _state(found, most))


def _missing(network: Result, what: str) -> str:
    return reason(network["why"].get(what, {"missing": "not measured"})) or "not measured"


def _state(found: Any, most: float) -> str:
    return "open" if found is None else "met" if found <= most else "missed"
