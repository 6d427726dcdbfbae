"""The cycle budget that the architecture rests on."""

from pathlib import Path

from hw.compiler.compile import compile_network
from hw.config import ZCU102
from quant.blank import blank_artifact
from quant.networks.spec import spec
from sim.cycles.budget import GOAL, document, steps
from sim.cycles.model import Memory, predict

PAGE = Path(__file__).parents[2] / "docs" / "cycle-budget.md"


def test_page_is_current():
    assert PAGE.read_text() == document(), "docs/cycle-budget.md is old: run python -m sim.cycles.budget"


def test_b1_reaches_the_goal_on_paper_and_no_step_beats_the_ideal():
    program = compile_network(blank_artifact(spec("b1").at((224, 224))), ZCU102)
    rows = steps(program, predict(program, Memory(60)))
    macs = sum(step.macs for step in rows)
    assert macs == 519_214_592
    assert macs / ZCU102.multipliers / sum(step.budget for step in rows) >= GOAL
    for step in rows:
        assert step.predicted >= step.budget, step.layers
        assert step.budget == 0 or step.budget >= step.macs / ZCU102.multipliers, step.layers
