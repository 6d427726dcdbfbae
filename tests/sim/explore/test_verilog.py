"""Points of a sweep on their emitted Verilog: the integers of the golden model, and the cycles that the sweep foretold."""

import numpy as np
import pytest

from boards import board
from hw.config import AcceleratorConfig
from quant.networks.random_weights import random_network
from quant.networks.spec import spec
from quant.quantize import quantize
from sim.explore import Setting, Space, explore
from sim.simulate import MemoryOptions, simulate
from tests.support.road import digits_artifact, held_out, needs_simulator

pytestmark = [needs_simulator, pytest.mark.full]
SPACE = Space(m=(4,), l=(4, 8), weight_rows=(512,), z_rows=(64,), divisor_rows=(64,), first_dsp=(50,), second_dsp=(100,))
#: Half of the paper's array, without DSPs in requantizers: of the sweep of B1 on the zcu102.
HALF = Space(m=(8,), l=(8,), weight_rows=(512,), z_rows=(64,), divisor_rows=(64,), first_dsp=(0,), second_dsp=(0,))


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


def test_half_of_the_paper_s_array_runs_b1_as_it_was_foretold():
    setting, wanted = Setting(board("zcu102")), spec("b1")
    found = explore(wanted, setting, HALF, backend="sequential")
    (point,) = (point for point in found.points if point.configuration["l"] == 8)
    pictures = np.random.default_rng(8).integers(0, 256, (5, 3, *wanted.resolution), np.uint8)
    artifact = quantize(random_network(wanted, pictures[:4]), pictures[:4])
    memory = MemoryOptions(latency=setting.latency)
    report = simulate(artifact.mapped(), AcceleratorConfig(**point.configuration), pictures[4:], memory=memory)
    assert report.comparison.equal, report.comparison
    assert abs(report.cycles - point.cycles) <= 0.01 * report.cycles
