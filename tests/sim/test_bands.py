"""A network larger than the buffers on the emitted Verilog: bands of rows, behind a LOAD whose picture is a ring."""

import numpy as np
import pytest

from hw.compiler.compile import compile_network
from hw.config import TOY
from hw.control.descriptor import Opcode
from quant.artifact import Artifact
from sim.simulate import MemoryOptions, simulate
from tests.support.networks import NetworkBuilder
from tests.support.road import needs_simulator, toy

pytestmark = needs_simulator


def large() -> Artifact:
    """A stem whose result alone exceeds X and Y, a depthwise-separable block with a residual, an inverted bottleneck, a head."""
    net = NetworkBuilder(11, 64, 64)
    stem = net.stem(20)
    block = net.pw("ds.pw", net.dw("ds.dw", stem, 5, 1), 20, residual=stem)
    block = net.pw("mb.pw2", net.dw("mb.dw", net.pw("mb.pw1", block, 36, "hardswish"), 3, 2), 12)
    net.head(block, 16, 9, 5)
    return net.artifact()


@pytest.mark.parametrize(("batch", "stall"), [(1, 0), (3, 0), (3, 20)])
def test_what_exceeds_the_buffers_is_bit_exact_and_as_fast_as_predicted(batch, stall):
    toy()
    artifact = large()
    program = compile_network(artifact, TOY, batch)
    stems = [task for task in program.tasks if task.get("behind_load") and task.picture in (None, 0)]
    load = next(task for task in program.tasks if task.opcode is Opcode.LOAD)
    assert len(stems) > 1 and load.get("dst_ring")
    given = np.random.default_rng(2).integers(0, 256, (batch, *artifact.input_shape)).astype(np.uint8)
    report = simulate(artifact, TOY, given, batch=batch, memory=MemoryOptions(latency=60, stall=stall, seed=4))
    assert report.comparison.equal and report.images == batch
    if not stall:
        assert abs(report.cycles_predicted / report.cycles - 1) < 0.02
