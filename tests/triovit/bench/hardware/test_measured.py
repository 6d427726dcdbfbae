"""The quick rows measured, in processes of their own, and compared with the stored baseline."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.road import needs_simulator, toy
from triovit.bench import runner, store
from triovit.bench.command import Rows
from triovit.bench.hardware import baseline
from triovit.bench.hardware.runner import HardwareRunner
from triovit.bench.hardware.summary import cases, summarise
from triovit.bench.runner import Result

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """The project's sources stay as they are while the tests run, whoever edits them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_sources", lambda root, names: "frozen")
        yield


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def _measured(directory: Path, section: str, *, measuring: bool = True) -> Rows:
    """Every case of the bench; those whose name begins with ``section`` are measured."""
    taking = HardwareRunner(directory, directory / "nothing shared", measuring=measuring)
    looking = taking.looking()
    return [(case, case.take(taking if case.name.startswith(section) else looking)) for case in cases()]


@pytest.fixture(scope="module")
def foretold(directory: Path, frozen: None) -> Result:
    """The summary when the design is counted and every network predicted."""
    _measured(directory, "design/")
    return summarise(_measured(directory, "model/"))


@pytest.fixture(scope="module")
def simulated(directory: Path, foretold: Result) -> Result:
    """The summary when the built-in network is simulated, too."""
    toy()
    return summarise(_measured(directory, "rtl/digits"))


def _off(found: baseline.Figures) -> str:
    """What is off the baseline, as a failing test shows it."""
    return "\n".join(baseline.differences(baseline.load(), found))


def test_predicted_cycles_and_cells_are_those_of_the_baseline(foretold: Result) -> None:
    found = baseline.figures(foretold)
    assert found["predicted"].keys() == baseline.load()["predicted"].keys()
    assert found["cells"].keys() == {"zcu102"}
    assert _off(found) == ""


@needs_simulator
def test_simulated_cycles_are_those_of_the_baseline(simulated: Result) -> None:
    found = baseline.figures(simulated)
    assert found["simulated"].keys() == {"digits"}
    assert (found["simulated"]["digits"] or {}).keys() == {"single", "steady"}
    assert _off(found) == ""


@needs_simulator
def test_the_built_in_network_in_rtl(simulated: Result) -> None:
    digits = simulated["networks"]["digits"]
    assert (digits["bit_exact"], digits["layers_compared"], digits["first_difference"], digits["why"]) == (True, 33, None, {})
    assert digits["macs"] == 634_688
    for measured, predicted in (
        ("cycles_single", "cycles_predicted_single"), ("cycles_steady", "cycles_predicted"),
    ):  # fmt: skip
        assert abs(digits[measured] / digits[predicted] - 1) < 0.05
    assert digits["cycles_steady"] < digits["cycles_single"]
    assert digits["utilization"] == 634_688 / 128 / digits["cycles_steady"]
    assert digits["utilization_single"] == 634_688 / 128 / digits["cycles_single"]
    assert len(digits["stalls"]) == 7
    assert digits["stalls"]["mat_stalled_pixels"] > digits["stalls_single"]["mat_stalled_pixels"] > 0
    assert min(digits["sim_seconds"], digits["sim_seconds_steady"]) > 0
    # The fixture has built it before.
    built = digits["build"]
    assert (built["verilog_cached"], built["verilog_seconds"]) == (True, None)
    assert (built["build_cached"], built["build_seconds"]) == (True, None)
    assert built["verilog_bytes"] > 1_000_000


def test_a_network_that_the_compiler_refuses_says_what_the_compiler_says(foretold: Result) -> None:
    seg = foretold["networks"]["seg-b0-512x384"]
    if seg["cycles_predicted_single"] is not None:
        pytest.skip("the compiler maps it now")
    assert seg["why"]["model"]["error"].startswith("layer ")
    assert "does not fit buffer" in seg["why"]["model"]["error"]


def test_what_was_measured_is_kept(directory: Path, foretold: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(runner.subprocess, "run", fail)
    again = summarise(_measured(directory, "model/"))
    assert again["networks"]["b1-224"]["cycles_predicted"] == foretold["networks"]["b1-224"]["cycles_predicted"] > 0
    assert again["design"]["dsp"] == foretold["design"]["dsp"] > 0


def test_rows_whose_data_are_absent_say_so_and_are_no_failure(directory: Path, foretold: Result) -> None:
    taking = HardwareRunner(directory, directory / "nothing shared", measuring=True)
    found = {case.name: case.take(taking) for case in cases() if case.name.startswith("rtl/b")}
    assert found["rtl/b1-224/single"] == found["rtl/b1-224/steady"] == {"missing": "no data/imagenette/calib beside the project"}
    assert found["rtl/b0-224/single"] == {"missing": "no models/efficientvit_b0_imagenette.pt beside the project"}
    assert not taking.missing
