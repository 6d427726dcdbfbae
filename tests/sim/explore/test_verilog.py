"""Points of a sweep on their emitted Verilog: the integers of the golden model, and the cycles that the sweep foretold."""

import pytest

from boards import board
from hw.config import AcceleratorConfig
from quant.networks.spec import spec
from sim.explore import Setting, Space, explore
from sim.simulate import MemoryOptions, simulate
from tests.support.road import digits_artifact, held_out, needs_simulator

pytestmark = [needs_simulator, pytest.mark.full]
SPACE = Space(m=(4,), l=(4, 8), weight_rows=(512,), z_rows=(64,), divisor_rows=(64,), first_dsp=(50,), second_dsp=(100,))


@pytest.mark.parametrize("l", SPACE.l)
def test_a_point_runs_as_it_was_foretold(l):  # noqa: E741
    setting = Setting(board("zcu102"))
    found = explore(spec("digits"), setting, SPACE, backend="sequential")
    point = next(point for point in found.points if point.configuration["m"] == 4 and point.configuration["l"] == l)
    memory = MemoryOptions(latency=setting.latency)
    report = simulate(digits_artifact(), AcceleratorConfig(**point.configuration), held_out(1), memory=memory)
    assert report.comparison.equal, report.comparison
    # The model lets weights have the port to themselves; what they lose to LOAD, MAT may have to wait for at the end.
    waited = next(wait.cycles for wait in report.waits if (wait.unit, wait.awaited) == ("MAT", "weights"))
    assert abs(report.cycles - point.cycles) <= 0.01 * report.cycles + waited
