"""R-MAC's depthwise mode, tampered with: its sequencer, the lanes that find pixels, and padding in the array."""

from collections.abc import Callable
from typing import Any

import pytest
from amaranth import Cat, Module, Signal
from amaranth.hdl import Value
from amaranth.lib.wiring import In

from hw.config import TOY
from hw.control.descriptor import Opcode
from hw.engines.dw_lanes import DwLanes
from hw.engines.dw_sequencer import DwSequencer
from hw.engines.rmac import RMacEngine
from tests.hw.planted_bugs.networks import block, folded, pool_over_old_values, stride
from tests.hw.planted_bugs.planting import ONES, Bug, failure_with
from tests.support.tamper import Instead, constant, plus, tampered, with_field


def padding_from(find: Callable[[Any, int], Any]) -> Callable:
    """R-MAC's array finds the depthwise padding of a block elsewhere in the row."""
    true = RMacEngine._elaborate_array

    def elaborate(self: RMacEngine, m: Module, is_dw: Any, *args: Any) -> Any:
        row = self.weights.row
        false = Signal(row.shape(), name="false_row")
        m.d.comb += Value.cast(false).eq(Value.cast(row))
        with m.If(is_dw):
            for block in range(TOY.l):
                m.d.comb += Value.cast(false[block][TOY.t - 1]).eq(Value.cast(find(row, block)))
        return true(Instead(self, weights=Instead(self.weights, row=false)), m, is_dw, *args)

    return elaborate


def rewired(unit: type, name: str, value: Callable[[Module, Any], Any]) -> type:
    """The unit with something else at one of its inputs: made of all of them."""

    class Rewired(unit):
        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.inner = inner = unit(self.config)
            for (port,), member, outside in self.signature.flatten(self):
                within = getattr(inner, port)
                source, target = (outside, within) if member.flow == In else (within, outside)
                m.d.comb += Value.cast(target).eq(Value.cast(value(m, self) if port == name else source))
            return m

    return Rewired


def as_soon_as_there_is_one(m: Module, lanes: Any) -> Value:
    """Lanes are prepared for a task whether another one needs them or not."""
    task = Value.cast(lanes.task)
    seen = Signal.like(task)
    m.d.sync += seen.eq(task)
    return lanes.start | ((lanes.task.opcode == Opcode.DW) & (task != seen))


BUGS: dict[str, Bug] = {
    "padding from the first lane": (
        "hw.engines.rmac.RMacEngine._elaborate_array",
        padding_from(lambda row, block: row[block][0]),
        stride,
        0,
    ),
    "padding from the lane before": (
        "hw.engines.rmac.RMacEngine._elaborate_array",
        padding_from(lambda row, block: row[block][TOY.t - 2]),
        stride,
        0,
    ),
    "padding of the first block's channels": (
        "hw.engines.rmac.RMacEngine._elaborate_array",
        padding_from(lambda row, block: row[0][TOY.t - 1]),
        stride,
        0,
    ),
    "stride with the wrong phase": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("px", plus(1))),
        stride,
        0,
    ),
    "stride ignored": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, task=with_field("stride", constant(1)), coming=with_field("stride", constant(1))),
        stride,
        0,
    ),
    "nothing is outside the map": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("outside", constant(0))),
        block,
        0,
    ),
    "a row of the map that does not end": (
        "hw.engines.dw_sequencer.DwLanes",
        tampered(DwLanes, row_end=constant(0)),
        pool_over_old_values,
        0,
    ),
    "always the first segment": ("hw.engines.dw_sequencer.DwLanes", tampered(DwLanes, move=constant(0)), block, 0),
    "lanes prepared while the last task needs them": (
        "hw.engines.dw_sequencer.DwLanes",
        rewired(DwLanes, "start", as_soon_as_there_is_one),
        pool_over_old_values,
        0,
    ),
    "lanes prepared for the task that runs": (
        "hw.engines.rmac.DwSequencer",
        rewired(DwSequencer, "coming", lambda m, sequencer: sequencer.task),
        block,
        0,
    ),
    "lanes not waited for": ("hw.engines.dw_sequencer.DwLanes", tampered(DwLanes, ready=ONES), pool_over_old_values, 0),
    "outside as in the first chunk": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("outside", lambda outside: Cat(outside[0] for _ in range(TOY.wide)))),
        folded,
        0,
    ),
    "a segment of folded chunks too short": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, task=with_field("step_x", plus(1)), coming=with_field("step_x", plus(1))),
        folded,
        0,
    ),
    "chunks beyond the last pixel": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("mask", ONES)),
        folded,
        0,
    ),
    "taps of the neighbouring lane": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("lane", plus(1))),
        block,
        0,
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    assert failure_with(monkeypatch, BUGS[bug]) is not None
