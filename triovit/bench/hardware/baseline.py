"""The stored baseline, tests/baseline/hardware.json: what the accelerator took when somebody last looked."""

import json
from typing import Any

from triovit import files
from triovit.bench.runner import Result
from triovit.bench.store import ROOT
from triovit.errors import UserError

BASELINE = ROOT / "tests" / "baseline" / "hardware.json"
#: Largest change that is none.
TOLERANCE = {"cycles": 0.02, "cells": 0.05}
RENEW = "python -m triovit.bench.hardware --renew"
#: What a renewal needs: quick to measure, and compared by the tests.
NEEDED = ("design/*", "model/*", "rtl/digits/*")
_RUNS = ("single", "steady")

#: Figures by what they are figures of; null is a network that the compiler refuses. The parts are ``predicted`` and ``simulated``
#: cycles a picture, and ``cells`` of the design.
Figures = dict[str, dict[str, dict[str, float] | None]]


def figures(summary: Result) -> Figures:
    """What of a summary (`triovit.bench.hardware.summary.summarise`) is compared; what was not measured is left out."""
    found: Figures = {"predicted": {}, "simulated": {}, "cells": {}}
    for name, network in summary["networks"].items():
        predicted = {"single": network["cycles_predicted_single"], "steady": network["cycles_predicted"]}
        if predicted["single"] is not None:
            found["predicted"][name] = {run: value for run, value in predicted.items() if value is not None}
        elif "error" in network["why"].get("model", {}):
            found["predicted"][name] = None
        simulated = {run: network[f"cycles_{run}"] for run in _RUNS if network[f"cycles_{run}"] is not None}
        if simulated:
            found["simulated"][name] = simulated
    design = summary["design"]
    if design["dsp"] is not None:
        found["cells"][design["config"]] = {name: design[name] for name in ("dsp", "bram36", "memory_lut", "multiplier_lut")}
    return found


def load() -> Figures:
    """The stored figures.

    Raises
    ------
    UserError
        The file is missing or damaged.
    """
    try:
        stored: Figures = json.loads(BASELINE.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{BASELINE}: cannot be read ({error}); make it with `{RENEW}`") from None
    return stored


def renew(summary: Result) -> None:
    """Store a summary's figures.

    Raises
    ------
    UserError
        Something that the tests compare has not been measured.
    """
    found = figures(summary)
    unmeasured = [f"model/{name}" for name in summary["networks"] if name not in found["predicted"]]
    unmeasured += [f"rtl/digits/{run}" for run in _RUNS if run not in (found["simulated"].get("digits") or {})]
    unmeasured += [f"design/{summary['design']['config']}"] if not found["cells"] else []
    if unmeasured:
        raise UserError(f"{BASELINE}: is not renewed, since there is no result of {', '.join(unmeasured)}; measure it first")
    files.write_json(BASELINE, found)


def differences(stored: Figures, found: Figures) -> list[str]:
    """A line for each figure that changed by more than its tolerance, for better or worse; of what is not in ``found`` none."""
    lines = []
    for part, names in found.items():
        for name, values in names.items():
            if name not in stored.get(part, {}):
                # The first simulation of a network has nothing to be compared with.
                if part != "simulated":
                    lines.append(f"{name}: has no {part} figures in the baseline; store them with `{RENEW}`")
                continue
            lines += _of_one(part, name, stored[part][name], values)
    return lines


def _of_one(part: str, name: str, before: dict[str, float] | None, now: dict[str, float] | None) -> list[str]:
    if before is None or now is None:
        if before == now:
            return []
        if now is None:
            return [f"{name}: was mapped when the baseline was stored, and the compiler refuses it now; {_remedy(worse=True)}"]
        return [f"{name}: can be mapped now, which it could not when the baseline was stored; {_remedy(worse=False)}"]
    lines = []
    unit = "cells" if part == "cells" else "cycles"
    for figure in sorted(before.keys() | now.keys()):
        if figure not in now:
            # Not simulated, or a batch that cannot be mapped any more.
            if part != "simulated":
                lines.append(f"{name}, {part} {figure}: is gone; {_remedy(worse=True)}")
            continue
        if figure not in before:
            lines.append(f"{name}, {part} {figure}: is not in the baseline; {_remedy(worse=False)}")
            continue
        change = now[figure] - before[figure]
        if abs(change) > TOLERANCE[unit] * before[figure]:
            share = f"{abs(change) / before[figure]:.1%} " if before[figure] else ""
            lines.append(
                f"{name}, {part} {figure}: {_number(now[figure])}{' cycles' if unit == 'cycles' else ''}, {share}"
                f"{'more' if change > 0 else 'fewer'} than the baseline's {_number(before[figure])}; {_remedy(worse=change > 0)}"
            )
    return lines


def _remedy(*, worse: bool) -> str:
    return f"mend it, or accept it with `{RENEW}`" if worse else f"keep it with `{RENEW}`"


def _number(value: Any) -> str:
    return f"{value:,.0f}"
