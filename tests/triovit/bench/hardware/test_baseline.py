"""Figures against the stored ones: what is said, and what is stored."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

from tests.triovit.bench.hardware.rows import REFUSED, model, run, summary
from triovit.bench import page
from triovit.bench.hardware import baseline
from triovit.errors import UserError

STORED: baseline.Figures = {
    "predicted": {"b1-224": {"single": 350_000, "steady": 284_000.5}, "b2-224": None},
    "simulated": {"digits": {"single": 9_000, "steady": 8_500}},
    "cells": {"zcu102": {"dsp": 1120, "bram36": 846.0}, "none": {"dsp": 0}},
}
ACCEPT = "mend it, or accept it with `python -m triovit.bench.hardware --renew`"
KEEP = "keep it with `python -m triovit.bench.hardware --renew`"


@pytest.mark.parametrize(
    ("part", "name", "values", "lines"),
    [
        ("predicted", "b1-224", {"single": 357_000, "steady": 284_000.5}, []),
        (
            "predicted", "b1-224", {"single": 357_001, "steady": 284_000.5},
            [f"b1-224, predicted single: 357,001 cycles, 2.0% more than the baseline's 350,000; {ACCEPT}"],
        ),
        (
            "predicted", "b1-224", {"single": 350_000, "steady": 267_000},
            [f"b1-224, predicted steady: 267,000 cycles, 6.0% fewer than the baseline's 284,000; {KEEP}"],
        ),
        ("predicted", "b1-224", {"single": 350_000}, [f"b1-224, predicted steady: is gone; {ACCEPT}"]),
        (
            "predicted", "b1-224", None,
            [f"b1-224: was mapped when the baseline was stored, and the compiler refuses it now; {ACCEPT}"],
        ),
        (
            "predicted", "b2-224", {"single": 1},
            [f"b2-224: can be mapped now, which it could not when the baseline was stored; {KEEP}"],
        ),
        ("predicted", "b2-224", None, []),
        (
            "predicted", "b3-224", None,
            ["b3-224: has no predicted figures in the baseline; store them with `python -m triovit.bench.hardware --renew`"],
        ),
        (
            "simulated", "digits", {"single": 9_900, "steady": 8_600},
            [f"digits, simulated single: 9,900 cycles, 10.0% more than the baseline's 9,000; {ACCEPT}"],
        ),
        # Long simulations need not be there, and are compared when they are.
        ("simulated", "digits", {"single": 9_000}, []),
        ("simulated", "b1-224", {"single": 1}, []),
        ("cells", "zcu102", {"dsp": 1170, "bram36": 880.0}, []),
        (
            "cells", "zcu102", {"dsp": 1177, "bram36": 800.0},
            [
                f"zcu102, cells bram36: 800, 5.4% fewer than the baseline's 846; {KEEP}",
                f"zcu102, cells dsp: 1,177, 5.1% more than the baseline's 1,120; {ACCEPT}",
            ],
        ),
        ("cells", "none", {"dsp": 1}, [f"none, cells dsp: 1, more than the baseline's 0; {ACCEPT}"]),
        (
            "cells", "zcu102", {"dsp": 1120, "bram36": 846.0, "ff": 9},
            [f"zcu102, cells ff: is not in the baseline; {KEEP}"],
        ),
    ],
)  # fmt: skip
def test_what_has_changed(part: str, name: str, values: dict[str, float] | None, lines: list[str]) -> None:
    found = deepcopy(STORED)
    found[part][name] = values
    assert baseline.differences(STORED, found) == lines


def test_the_figures_of_a_summary() -> None:
    digits = run(4 * 8_500, 4, 1.0)
    found = baseline.figures(summary(rtl__digits__steady=digits, model__b0_224={"missing": "not measured"}))
    assert found["predicted"] == {
        "digits": None,
        "b1-224": {"single": 320_000, "steady": 266_000.0},
        **dict.fromkeys(("b1-224-z8", "b1-256", "b1-288", "b2-224", "b2-224-z8", "seg-b0-512x384")),
    }
    assert found["simulated"] == {"digits": {"steady": 8_500}, "b1-224": {"single": 321_600, "steady": 266_500}}
    assert found["cells"] == {"zcu102": {"dsp": 1100, "bram36": 700.5, "memory_lut": 30_000, "multiplier_lut": 60_000}}


def test_a_baseline_is_renewed_when_everything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "hardware.json"
    monkeypatch.setattr(baseline, "BASELINE", place)
    unmeasured = {"missing": "not measured"}
    with pytest.raises(UserError) as said:
        baseline.renew(summary(model__b1_224=unmeasured, design__zcu102=unmeasured, rtl__digits__single=run(9_000, 1, 1.0)))
    assert str(said.value) == (
        f"{place}: is not renewed, since there is no result of model/b1-224, rtl/digits/steady, design/zcu102; measure it first"
    )
    assert not place.exists()
    whole = summary(
        model__digits=model(9_000, 8_000.0), rtl__digits__single=run(9_000, 1, 1.0), rtl__digits__steady=run(34_000, 4, 1.0)
    )
    baseline.renew(whole)
    assert baseline.load() == baseline.figures(whole)
    assert baseline.differences(baseline.load(), baseline.figures(whole)) == []
    refused = baseline.figures({**whole, "networks": summary(model__digits=REFUSED)["networks"]})
    assert len(baseline.differences(baseline.load(), refused)) == 1


@pytest.mark.parametrize(("text", "why"), [
    (None, "[Errno 2] No such file or directory: '{place}'"), ("{", "Expecting property name enclosed in double quotes"),
])  # fmt: skip
def test_a_baseline_that_cannot_be_read(
    text: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "hardware.json"
    monkeypatch.setattr(baseline, "BASELINE", place)
    if text is not None:
        place.write_text(text)
    with pytest.raises(UserError) as said:
        baseline.load()
    assert str(said.value).startswith(f"{place}: cannot be read ({why.format(place=place)}")
    assert str(said.value).endswith("); make it with `python -m triovit.bench.hardware --renew`")


def test_the_page_has_the_predictions_of_the_baseline() -> None:
    """Who renews the one renews the other."""
    text = page.part(Path(__file__).parents[4] / "docs" / "results.md", "accelerator").split("## By the cycle model")[1]
    for name, values in json.loads(baseline.BASELINE.read_text())["predicted"].items():
        for value in (values or {}).values():
            assert f"| {value:,.0f} |" in text, name
