"""The accelerator's part of docs/results.md, from the summary alone."""

from collections.abc import Callable
from typing import Any

from triovit.bench.hardware.goals import Goal, goals
from triovit.bench.hardware.summary import gops
from triovit.bench.tables import Columns, Row, cell, number, paragraph, percent, reason, section, text

_BENCH = "python -m triovit.bench.hardware"
#: Counted resources against what Yosys infers; docs/resources.md has the measurement.
_BIAS = (
    "Nothing was synthesized or placed for this table: it is the estimate that every part of the hardware gives of itself from "
    "its sizes (`python -m hw.resources`). [resources.md](resources.md) has it beside what Yosys infers: DSPs and block RAMs are "
    "equal for every part, but for one DSP less in the whole of toy; LUTs as memory are at most 10% too many; LUTs as "
    "multipliers at most 6%. All LUTs and flip-flops are the row `netlist`'s: Yosys maps each part of the design by itself and "
    "gives every function a LUT of its own. Where small functions share one, two with at most five inputs together do; beside a "
    "carry chain's bit none does ([resources.md](resources.md) says what else Yosys leaves undone)."
)


def render(summary: dict[str, Any]) -> str:
    """Return the Markdown of a summary (`triovit.bench.hardware.summary.summarise`); the same summary gives the same text."""
    return "\n\n".join((_head(summary), _goals(summary), _rtl(summary), _model(summary), _design(summary)))


def _head(summary: dict[str, Any]) -> str:
    made_with = ", ".join(f"{name} {found}" for name, found in summary["versions"].items())
    return "# Results of the accelerator\n\n" + paragraph(
        "Written by `make bench`; do not edit ([benchmarks.md](benchmarks.md) says how it measures). *Measured* is the emitted "
        "Verilog in Verilator, compared with the golden model layer by layer by `==`; *predicted* is the cycle model. The memory "
        f"answers after {summary['memory']['latency']} cycles and then gives a beat a cycle. Steady state is a run of several "
        "pictures, its cycles divided by their number, all of it included: the first picture's way in and the last one's way "
        "out, too. The authors' numbers are those of their own cycle model, which counts the backbone alone, no group "
        f"convolution, no stall and no head. {summary['cores']} cores; {made_with}."
    )


def _goals(summary: dict[str, Any]) -> str:
    columns: dict[str, Callable[[Goal], str]] = {
        "figure": lambda goal: goal.figure,
        "goal": lambda goal: goal.goal,
        "measured": lambda goal: goal.measured,
        "predicted or counted": lambda goal: goal.predicted,
        "authors": lambda goal: goal.authors,
        "state": lambda goal: goal.state,
    }
    rows = [{name: cell(content(goal)) for name, content in columns.items()} for goal in goals(summary)]
    return section(
        "Goals",
        "make bench",
        "A goal is open as long as nothing is measured that decides it.",
        {name: text(name) for name in columns},
        rows,
        len(columns),
    )


def _rtl(summary: dict[str, Any]) -> str:
    rows = []
    for network in summary["networks"].values():
        if network["rtl"] == "never":
            continue
        for run in ("single", "steady"):
            if run == "steady" and network["batch"] == 1:
                continue
            suffix = "_single" if run == "single" else ""
            predicted = "cycles_predicted" + suffix
            seconds = "sim_seconds" + ("" if run == "single" else "_steady")
            rows.append(
                {
                    **network,
                    "pictures": 1 if run == "single" else network["batch"],
                    "cycles": network[f"cycles_{run}"],
                    "predicted": network[predicted],
                    "share": network["utilization" + suffix],
                    "waits": network["stalls" + suffix],
                    "seconds": network[seconds],
                    **network["why"].get(run, {}),
                }
            )
    return section(
        "Whole networks in RTL",
        f"{_BENCH} --only 'rtl/*'",
        "Cycles are a picture's; utilization is the share of the multipliers' cycles that do the network's products. Waits are "
        "what the hardware's registers counted in the whole run, in thousands of cycles: MAT for weights, results, pixels; R-MAC "
        "for weights, results; LOAD for memory; the weight stream for memory. Seconds are the simulator's alone, by the clock.",
        {
            "network": text("title"),
            "size": text("size"),
            "configuration": text("config"),
            "pictures": text("pictures"),
            "bit-exact": _exact,
            "cycles": number("cycles", 0),
            "predicted": number("predicted", 0),
            "apart, %": _apart,
            "utilization, %": percent("share"),
            "waits": _waits,
            "seconds": number("seconds", 1),
        },
        rows,
        4,
    )


def _model(summary: dict[str, Any]) -> str:
    clock = summary["clock_mhz"]
    rows = [{**network, **network["why"].get("model", {})} for network in summary["networks"].values()]
    return section(
        "By the cycle model",
        f"{_BENCH} --only 'model/*'",
        "Ideal are the network's products divided by the multipliers. GOPS are those of the steady state at "
        f"{clock} MHz, two operations a product. Backbone is one picture alone until its last layer before the head, the nearest "
        "to what the authors' model counts.",
        {
            "network": text("title"),
            "size": text("size"),
            "configuration": text("config"),
            "ideal": number("ideal_cycles", 0),
            "single": number("cycles_predicted_single", 0),
            "backbone": number("cycles_predicted_backbone", 0),
            "steady": number("cycles_predicted", 0),
            "steady / ideal": _ratio,
            "utilization, %": percent("utilization_predicted"),
            "GOPS": lambda row: "" if row["cycles_predicted"] is None else f"{gops(row['macs'], row['cycles_predicted']):.1f}",
            "authors: cycles": lambda row: _authors(row, "cycles", ",.0f"),
            "utilization, % ": lambda row: _authors(row, "utilization", ".2%").rstrip("%"),
            "GOPS ": lambda row: _authors(row, "gops", ".1f"),
        },
        [_with_authors(row) for row in rows],
        3,
    )


def _with_authors(row: Row) -> Row:
    """Of a network that cannot be mapped the reason says what the authors' model says, for it takes the columns' place."""
    if reason(row) is None or row["authors"] is None:
        return row
    name = next(name for name in ("missing", "error") if name in row)
    return {**row, name: f"{row[name]} (authors: {_authors(row, 'cycles', ',.0f')} cycles)"}


def _authors(row: Row, name: str, form: str) -> str:
    return "" if row["authors"] is None else format(row["authors"][name], form)


def _design(summary: dict[str, Any]) -> str:
    design = summary["design"]
    device = design["device"]
    if design["dsp"] is None:
        rows: list[Row] = [{"part": "total", **design["why"]}]
    else:
        names = ("dsp", "bram36", "memory_lut", "multiplier_lut")
        total = {name: design[name] for name in names}
        rows = [{"part": part, **found} for part, found in {**design["parts"], "**total**": total}.items()]
        share = {
            name: "unknown" if design[name] is None else f"{design[name] / device[name]:.1%}"
            for name in ("dsp", "bram36", "lut", "ff")
        }
    columns: Columns = {
        "part": text("part"),
        "DSP": number("dsp", 0),
        "BRAM36": number("bram36", 1),
        "LUTs as memory": number("memory_lut", 0),
        "LUTs as multipliers": number("multiplier_lut", 0),
    }
    lines = [section(f"Resources of {design['config']}", f"{_BENCH} --only 'design/*'", _BIAS, columns, rows, 1)]
    if design["dsp"] is not None:
        lines.append(
            paragraph(
                f"Of the {device['name']}: {share['dsp']} of {device['dsp']:,} DSPs, {share['bram36']} of {device['bram36']:,} "
                f"block RAMs, {share['lut']} of {device['lut']:,} LUTs{_sites(design)}, {share['ff']} of {device['ff']:,} "
                "flip-flops. "
                f"{design['multipliers']:,} multipliers in {design['array_dsp']:,} DSPs. {_per_dsp(summary)}"
            )
        )
    return "\n\n".join(lines)


def _sites(design: dict[str, Any]) -> str:
    if design["lut_sites"] is None:
        return ""
    return f" ({design['lut_sites'] / design['device']['lut']:.1%} where small functions share one)"


def _per_dsp(summary: dict[str, Any]) -> str:
    design = summary["design"]
    measured, predicted = design["gops_per_dsp"], design["gops_per_dsp_predicted"]
    words = "not measured" if measured is None else f"{measured:.3f} measured"
    words += "" if predicted is None else f", {predicted:.3f} predicted"
    return f"GOPS a DSP with B1 at 224x224 in steady state, all DSPs counted, at {summary['clock_mhz']} MHz: {words}."


def _exact(row: Row) -> str:
    return f"{row['layers_compared']} layers" if row["bit_exact"] else f"NO: {cell(str(row['first_difference']))}"


def _apart(row: Row) -> str:
    return "" if row["predicted"] is None else f"{100 * (row['cycles'] / row['predicted'] - 1):+.1f}"


def _waits(row: Row) -> str:
    return " ".join(f"{cycles / 1000:.1f}" for cycles in row["waits"].values())


def _ratio(row: Row) -> str:
    return "" if row["cycles_predicted"] is None else f"{row['cycles_predicted'] / row['ideal_cycles']:.3f}"


__all__ = ["render"]
