"""The command `python -m triovit.bench.hardware`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.triovit.bench.hardware.rows import FOUND, model, run
from triovit.bench import page
from triovit.bench.hardware import baseline
from triovit.bench.hardware.__main__ import main
from triovit.bench.hardware.runner import HardwareRunner
from triovit.bench.hardware.summary import cases


class Place:
    """A directory to run the command in, where measurements are made up."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self.capsys = directory, capsys
        self.page, self.summary = directory / "results.md", directory / "bench" / "summary.json"
        self.found: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []

    def taken(self, taking: HardwareRunner, name: str) -> dict[str, Any]:
        if taking.measuring:
            self.asked.append(name)
        else:
            taking.missing.add(name)
        return self.found.get(name, {"missing": "not measured"})

    def __call__(self, *words: str) -> tuple[int, list[str], list[str]]:
        """Exit code, lines of standard output and of standard error."""
        given = [*words, "--directory", str(self.summary.parent), "--shared", str(self.directory), "-o", str(self.page)]
        with pytest.raises(SystemExit) as left:
            main(given)
        out, err = self.capsys.readouterr()
        return int(left.value.code or 0), out.splitlines(), err.splitlines()


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, capsys)
    monkeypatch.setattr(HardwareRunner, "design", lambda self, config: place.taken(self, f"design/{config}"))
    monkeypatch.setattr(HardwareRunner, "netlist", lambda self, config: place.taken(self, f"netlist/{config}"))
    monkeypatch.setattr(HardwareRunner, "model", lambda self, network: place.taken(self, f"model/{network.name}"))
    monkeypatch.setattr(HardwareRunner, "artifact", lambda self, network: {"artifact": "a", "sha256": "s"})
    monkeypatch.setattr(HardwareRunner, "build", lambda self, config: {})

    def rtl(self: HardwareRunner, network: Any, artifact: object, batch: int) -> dict[str, Any]:
        return place.taken(self, f"rtl/{network.name}/{'single' if batch == 1 else 'steady'}")

    monkeypatch.setattr(HardwareRunner, "rtl", rtl)
    monkeypatch.setattr(baseline, "BASELINE", tmp_path / "hardware.json")
    place.found = FOUND | {
        "model/digits": model(9_000, 8_500.0),
        "model/b0-224": model(88_000, 75_000.0),
        "rtl/digits/single": run(9_000, 1, 1.0),
        "rtl/digits/steady": run(34_000, 4, 1.0),
    }
    return place


def test_long_rows_are_listed_where_they_are_named(bench: Place) -> None:
    code, out, _ = bench("--list")
    assert code == 0
    assert out == [case.name for case in cases() if not case.long]
    assert bench("--list", "--only", "rtl/b*-2*", "--skip", "*/steady")[1] == [
        "rtl/b0-224/single",
        "rtl/b1-224/single",
        "rtl/b1-288/single",
        "rtl/b2-224/single",
        "rtl/b2-224-z8/single",
    ]
    assert not bench.asked
    assert not bench.page.exists()


def test_a_renewal_measures_what_the_tests_compare(bench: Place) -> None:
    code, out, _ = bench("--renew")
    assert code == 0
    assert out[-1] == f"{baseline.BASELINE}: renewed"
    assert {name for name in bench.asked if name.startswith("rtl/")} == {"rtl/digits/single", "rtl/digits/steady"}
    stored = json.loads(baseline.BASELINE.read_text())
    assert stored["simulated"]["digits"] == {"single": 9_000, "steady": 8_500}
    # What is kept of the long simulations is stored, too.
    assert stored["simulated"]["b1-224"] == {"single": 321_600, "steady": 266_500}


def test_every_figure_is_printed_and_what_is_off_the_baseline(bench: Place) -> None:
    bench("--renew")
    code, out, err = bench("--only", "model/*")
    assert (code, err[-1]) == (0, "bench 9/9: model/seg-b0-512x384, about 0 min left")
    rows = len(cases())
    assert out[0] == f"{bench.page}: {rows} rows, 2 of them not measured"
    assert out[4] == (
        "met     B1-R224, cycles a picture, steady state: goal at most 267,000; measured 266,500; predicted 266,000; "
        "authors 250,343 (backbone alone)"
    )
    bench.found["model/b1-224"] = model(330_000, 266_000.0)
    code, _, err = bench("--only", "model/*")
    assert code == 1
    assert err[-1] == (
        "b1-224, predicted single: 330,000 cycles, 3.1% more than the baseline's 320,000; "
        "mend it, or accept it with `python -m triovit.bench.hardware --renew`"
    )
    assert json.loads(bench.summary.read_text())["networks"]["b1-224"]["cycles_predicted_single"] == 330_000
    assert "| 330,000 |" in page.part(bench.page, "accelerator")


def test_hardware_that_is_not_exact_fails(bench: Place) -> None:
    bench("--renew")
    wrong = run(9_000, 1, 1.0, bit_exact=False, first_difference="layer stem.0: is 6 at cycle 77, and must be 5")
    bench.found["rtl/digits/single"] = wrong
    code, _, err = bench("--only", "rtl/digits/*")
    assert (code, err[-1]) == (1, "digits: layer stem.0: is 6 at cycle 77, and must be 5")
    assert "NO: layer stem.0: is 6 at cycle 77, and must be 5" in bench.page.read_text()


def test_a_page_of_somebody_s_own_is_not_replaced(bench: Place) -> None:
    bench.page.write_text("# My notes\n")
    code, _, err = bench("--only", "model/*")
    assert (code, err) == (2, [f"error: {bench.page}: holds no part of a bench, so it is not replaced; choose another file"])
    assert not bench.asked
