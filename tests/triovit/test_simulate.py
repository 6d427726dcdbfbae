"""``triovit simulate`` and ``triovit report``, with a simulator that says what the test wants."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hw.config import TOY
from sim.compare import Comparison, Divergence
from sim.report import Event, LayerRow, Wait
from triovit.errors import UserError

EQUAL = Comparison(layers=33, tensors=39, elements=1000, mismatches=0, wrong_layers=(), first=None)
WRONG = replace(EQUAL, mismatches=2, wrong_layers=("stem.0",), first=Divergence("stem.0", "stem.0", (0, 1, 2, 3), 5, 6, 77))


@dataclass(frozen=True)
class Found:
    """What a simulation reports."""

    comparison: Comparison
    config: str = "toy"
    images: int = 1
    cycles: int = 1000
    cycles_predicted: int = 990
    macs: int = 64000
    utilization: float = 0.5
    layers: tuple[LayerRow, ...] = (LayerRow("stem.0", "conv", "MAT", 64000, 1000, 990, 0.5),)
    timeline: tuple[Event, ...] = (Event("MAT", "stem.0", 0, 1000),)
    waits: tuple[Wait, ...] = (Wait("MAT", "weights", 1300), Wait("MAT", "pixels", 4), Wait("LOAD", "memory", 0))
    waves: Path | None = None


@pytest.fixture
def simulator(monkeypatch):
    """A simulator that finds ``found`` and remembers how it was called."""

    class Simulator:
        found = Found(EQUAL)
        called: tuple[object, ...] = ()

        def simulate(self, artifact, where, pictures, *, layer=None, batch=1, waves=False, progress):
            self.called = (where, pictures.shape, pictures.dtype, layer, batch, waves)
            return self.found

    simulator = Simulator()
    module = ModuleType("sim.simulate")
    module.simulate = simulator.simulate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sim.simulate", module)
    monkeypatch.setattr("sim.toolchain.environment", dict)
    return simulator


def test_equal(triovit, simulator, artifact_path):
    result = triovit("simulate", artifact_path)
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        "compared          33 layers, 39 tensors, 1000 values compared: all equal",
        "pictures          1",
        "cycles a picture  1,000 (predicted 990)",
        "MACs a picture    64,000",
        "utilization       50.00%",
        "MAT waited        1,300 cycles for weights, 4 cycles for pixels",
    ]
    assert simulator.called == (TOY, (1, 3, 32, 32), np.dtype(np.uint8), None, 1, False)


def test_options_reach_the_simulator(triovit, simulator, artifact_path, tmp_path):
    words = ("--hardware", tmp_path, "--layer", "stem.0", "--waves", "--count", 3)
    assert triovit("simulate", artifact_path, *words).code == 0
    assert simulator.called == (tmp_path, (3, 3, 32, 32), np.dtype(np.uint8), "stem.0", 1, True)


def test_cycles_of_a_batch_are_shared_among_its_pictures(triovit, simulator, artifact_path):
    simulator.found = replace(Found(EQUAL), images=8, cycles=3800, cycles_predicted=3600)
    result = triovit("simulate", artifact_path, "--batch", 4, "--count", 8)
    assert simulator.called == (TOY, (8, 3, 32, 32), np.dtype(np.uint8), None, 4, False)
    assert result.out.splitlines()[1:5] == [
        "pictures          8",
        "cycles a run      3,800, of 4 pictures",
        "cycles a picture  950 (predicted 900)",
        "MACs a picture    16,000",
    ]
    assert triovit("simulate", artifact_path, "--batch", 4).code == 0
    assert simulator.called[1] == (4, 3, 32, 32)


def test_waveform_is_named(triovit, simulator, artifact_path):
    simulator.found = replace(Found(EQUAL), waves=Path("build/waves/triovit.fst"))
    assert triovit("simulate", artifact_path, "--waves").out.splitlines()[-1] == "waveform          build/waves/triovit.fst"


def test_missing_simulator_is_told_before_the_work(triovit, simulator, artifact_path, tmp_path, monkeypatch):
    def missing() -> None:
        raise UserError("simulation needs perl (any; not found): apt install perl")

    monkeypatch.setattr("sim.toolchain.environment", missing)
    result = triovit("simulate", artifact_path, "-o", tmp_path / "run")
    assert (result.code, result.err) == (2, "error: simulation needs perl (any; not found): apt install perl\n")
    assert simulator.called == ()
    assert not (tmp_path / "run").exists()


def test_difference_is_named_and_code_1(triovit, simulator, artifact_path):
    simulator.found = Found(WRONG)
    result = triovit("simulate", artifact_path)
    assert result.code == 1
    assert "layer stem.0: stem.0[0, 1, 2, 3] is 6 at cycle 77, and must be 5" in result.out
    document = triovit("simulate", artifact_path, "--json").document
    assert document["comparison"]["first"] == {
        "layer": "stem.0", "tensor": "stem.0", "index": [0, 1, 2, 3], "expected": 5, "got": 6, "cycle": 77,
    }  # fmt: skip


def test_unknown_configuration(triovit, simulator, artifact_path):
    result = triovit("simulate", artifact_path, "--config", "huge")
    assert (result.code, result.err) == (2, "error: configuration 'huge' is unknown; choose one of toy, zcu102\n")


def test_report_of_a_simulation(triovit, simulator, artifact_path, tmp_path):
    assert triovit("simulate", artifact_path, "-o", tmp_path).code == 0
    data = json.loads((tmp_path / "report.json").read_text())
    assert (data["network"], data["bit_exact"], data["int_accuracy"]) == ("digits", True, None)
    assert "S1.0.MB.pw1" in {entry["layer"] for entry in data["ranges"]}
    result = triovit("report", tmp_path, "--json")
    assert result.code == 0
    assert result.document == {"report": str(tmp_path / "report.html"), "timeline": str(tmp_path / "timeline.svg")}
    assert "stem.0" in (tmp_path / "report.html").read_text()


def test_report_of_nothing(triovit, tmp_path):
    result = triovit("report", tmp_path)
    assert result.code == 2
    assert result.err == f"error: {tmp_path}/report.json: no such file; simulate the network again\n"
    assert not list(tmp_path.iterdir())
