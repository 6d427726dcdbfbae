"""MAT, tampered with: its sequencer, its array, what it waits for, LayerNorm and its queue of results."""

from collections.abc import Callable
from typing import Any

import pytest
from amaranth import Const
from amaranth.hdl import Value

from hw.engines.mat import MatEngine
from hw.engines.mat_sequencer import MatSequencer
from hw.engines.result_queue import ResultQueue
from hw.units.layer_norm import LayerNormCore
from tests.hw.planted_bugs.networks import attention, block, product, two_groups, two_sets, vector, wide_attention
from tests.hw.planted_bugs.planting import ONES, Bug, failure_with
from tests.support.tamper import Instead, constant, plus, tampered, with_field


def array_with(engine: type, **fields: int) -> Callable:
    """The engine's array as it is when some field of the task is not looked at."""
    true = engine._elaborate_array

    def elaborate(self: Any, m: Any, *args: Any) -> Any:
        tasks = [
            Instead(arg, **{name: Const(value, 24) for name, value in fields.items()}) if hasattr(arg, "opcode") else arg
            for arg in args
        ]
        return true(self, m, *tasks)

    return elaborate


BUGS: dict[str, Bug] = {
    "upper part of K^T V everywhere": (
        "hw.engines.mat.MatEngine._elaborate_array",
        array_with(MatEngine, wide=0),
        wide_attention,
        0,
    ),
    "both parts of K^T V everywhere": (
        "hw.engines.mat.MatEngine._elaborate_array",
        array_with(MatEngine, wide=1),
        two_groups,
        0,
    ),
    "channel groups counted by all slots": (
        "hw.engines.mat.MatSequencer",
        tampered(MatSequencer, task=with_field("wide", constant(0))),
        wide_attention,
        0,
    ),
    "relu of Q missing": ("hw.engines.mat.MatEngine._elaborate_array", array_with(MatEngine, relu=0), attention, 0),
    "results beyond the last pixel": (
        "hw.engines.mat.MatSequencer",
        tampered(MatSequencer, beat=with_field("mask", ONES)),
        product,
        0,
    ),
    "channel groups under way not waited for": (
        "hw.engines.mat.MatSequencer",
        tampered(MatSequencer, begun_groups=ONES),
        two_sets,
        0,
    ),
    "progress not waited for": ("hw.engines.mat.MatSequencer", tampered(MatSequencer, progress=ONES), block, 0),
    "weights not waited for": ("hw.engines.mat.MatSequencer", tampered(MatSequencer, weights=ONES), product, 0.95),
    "weights released one row late": (
        "hw.engines.mat.MatSequencer",
        tampered(MatSequencer, free=lambda free: Value.cast(free) - (Value.cast(free) != 0)),
        product,
        0,
    ),
    "LOAD not waited for": ("hw.core.MatEngine", tampered(MatEngine, load_progress=ONES), product, 0),
    "R-MAC waited for instead of LOAD": ("hw.core.MatEngine", tampered(MatEngine, load_progress=constant(0)), product, 0),
    "statistics not waited for": ("hw.engines.mat.MatSequencer", tampered(MatSequencer, ln_done=ONES), vector, 0),
    "statistics of the vector before": ("hw.engines.mat.LayerNormCore", tampered(LayerNormCore, last=constant(0)), vector, 0),
    "sums of the first word only": ("hw.engines.mat.LayerNormCore", tampered(LayerNormCore, sum_first=ONES), vector, 0),
    "elements of the vector miscounted": ("hw.engines.mat.LayerNormCore", tampered(LayerNormCore, count=plus(1)), vector, 0),
    "a result not counted as written": ("hw.engines.mat.ResultQueue", tampered(ResultQueue, retired=constant(0)), product, 0),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    assert failure_with(monkeypatch, BUGS[bug]) is not None
