"""The emitted Verilog has nothing that Verilator would warn of."""

import pytest

from hw import verilog
from hw.config import TOY, ZCU102
from sim.lint import lint


def test_toy_is_clean():
    assert lint(verilog.emit(TOY)) == []


@pytest.mark.full
def test_zcu102_is_clean():
    assert lint(verilog.emit(ZCU102)) == []


@pytest.mark.parametrize(("body", "warning"), [
    ("always @* if (i) o = 1'b1;", "LATCH"),
    ("reg none; always @* o = i & none;", "UNDRIVEN"),
    ("always @(posedge clk) o = i;", "BLKSEQ"),
    ("always @* o = missing;", "missing"),
])
def test_complaints_are_reported(tmp_path, body, warning):
    source = tmp_path / "bad.v"
    source.write_text(f"module bad(input clk, input i, output reg o);\n{body}\nendmodule\n")
    complaints = lint(source, "bad")
    assert any(warning in complaint for complaint in complaints)
