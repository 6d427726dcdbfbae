"""Several pictures a run on the emitted Verilog: every layer of every picture, and faults of such programs that must be found."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

import sim.simulate
from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.compiler.tasks import NONE, Task
from hw.config import TOY
from hw.control.descriptor import Opcode
from quant.artifact import Artifact
from sim.simulate import MemoryOptions, simulate
from tests.support.networks import NetworkBuilder
from tests.support.road import digits_artifact, held_out, needs_simulator, recorded, toy
from triovit.errors import InternalError, UserError

pytestmark = needs_simulator
PICTURES = 3
true_compile = compile_network


@cache
def network(pooled: bool) -> tuple[Artifact, NDArray[np.uint8]]:
    """A small network with a head, or without one, and pictures for it; treat it as constant."""
    toy()
    net = NetworkBuilder(7, 8, 12)
    stem = net.stem(6)
    last = net.pw("pw2", net.dw("dw", net.pw("pw1", stem, 9, "hardswish")), 6, residual=stem)
    if pooled:
        net.head(last, 10, 9, 5)
    artifact = net.artifact()
    given = np.random.default_rng(3).integers(0, 256, (2 * PICTURES, *artifact.input_shape)).astype(np.uint8)
    return artifact, given


def test_a_batch_of_digits_is_bit_exact_and_cheaper_than_single_ones():
    toy()
    artifact, given = digits_artifact(), held_out(4)
    memory = MemoryOptions(latency=60)
    together, alone = simulate(artifact, TOY, given, batch=4, memory=memory), simulate(artifact, TOY, given[:1], memory=memory)
    assert together.comparison.equal and together.comparison.elements == 4 * alone.comparison.elements
    assert (together.images, together.batch, alone.batch) == (4, 4, 1)
    assert together.macs == 4 * alone.macs
    assert together.cycles < 4 * alone.cycles
    assert abs(together.cycles_predicted / together.cycles - 1) < 0.02
    # LOAD of a picture beside the last layers of the one before.
    loads = [event for event in together.timeline if event.engine == "LOAD"]
    convolutions = [event for event in together.timeline if (event.engine, event.layer) == ("MAT", "head.conv")]
    assert len(loads) == len(convolutions) == 4
    assert all(load.start < conv.end for load, conv in zip(loads[1:], convolutions, strict=False))


def test_a_batch_of_more_pictures_than_a_row_has_places_for():
    """Vectors of six pictures lie in two rows of the four blocks."""
    artifact, given = network(True)
    report = simulate(artifact, TOY, given, batch=2 * PICTURES)
    assert TOY.l < 2 * PICTURES
    assert report.comparison.equal and report.images == 2 * PICTURES
    assert abs(report.cycles_predicted / report.cycles - 1) < 0.02


@pytest.mark.parametrize("pooled", [True, False])
def test_several_runs_of_several_pictures_with_a_slow_memory(pooled):
    artifact, given = network(pooled)
    with pytest.MonkeyPatch.context() as patch:
        results = recorded(patch)
        report = simulate(artifact, TOY, given, batch=PICTURES, memory=MemoryOptions(latency=33, stall=30, seed=5))
    assert report.comparison.equal and report.images == 2 * PICTURES
    assert len({picture.tobytes() for picture in report.output}) == 2 * PICTURES
    assert len(results[0].reports) == 2
    assert results[0].channels["ar"].stalled > 5
    assert results[0].channels["r"].held > 50


def each(opcode: Opcode, **fields: int) -> Callable[[Program], Program]:
    """A fault: the fields of every task of that kind."""

    def planted(program: Program) -> Program:
        tasks = tuple(
            replace(task, fields={**task.fields, **fields}) if task.opcode is opcode else task for task in program.tasks
        )
        return replace(program, tasks=tasks)

    return planted


def too_early(program: Program) -> Program:
    """A fault: the second picture is loaded while the first one's unfolded pixels are still read."""
    tasks: list[Task] = [task for task in program.tasks if not (task.opcode is Opcode.LOAD and task.picture == 1)]
    load = next(task for task in program.tasks if task.opcode is Opcode.LOAD and task.picture == 1)
    stem = next(index for index, task in enumerate(tasks) if task.get("behind_load"))
    tasks.insert(stem + 1, replace(load, wait=NONE))
    return replace(program, tasks=tuple(tasks))


FAULTS: dict[str, tuple[bool, Callable[[Program], Program]]] = {
    "every picture is the first": (True, each(Opcode.LOAD, offset=0)),
    "vectors one on the other": (True, each(Opcode.POOL, px_start=0)),
    "the norm of the first vector only": (True, each(Opcode.LN, px_end=1)),
    "no norm of the first vector": (True, each(Opcode.LN, px_start=1)),
    "the stem does not wait for its picture": (True, each(Opcode.PW, gated=0)),
    "loaded while the rows are in use": (True, too_early),
    "results one on the other": (False, each(Opcode.STORE, offset=0)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_such_programs_are_found(monkeypatch, fault):
    pooled, plant = FAULTS[fault]
    artifact, given = network(pooled)

    def planted(*words, **named) -> Program:
        good = true_compile(*words, **named)
        bad = plant(good)
        assert bad.descriptors != good.descriptors
        return bad

    monkeypatch.setattr(sim.simulate, "compile_network", planted)
    report = simulate(artifact, TOY, given, batch=PICTURES)
    assert not report.comparison.equal and report.comparison.first is not None


def with_passes(monkeypatch: pytest.MonkeyPatch, passes: int) -> tuple[Artifact, NDArray[np.uint8]]:
    """A network and pictures; from now on the stream's first part is read ``passes`` times."""
    artifact, given = network(True)
    true_run = sim.simulate.run_bench

    def run(spec, job, **named):
        runs = tuple({**one, "weights_passes": passes, "watchdog": 3000} for one in job.runs)
        return true_run(spec, replace(job, runs=runs), **named)

    monkeypatch.setattr(sim.simulate, "run_bench", run)
    return artifact, given[:PICTURES]


def test_a_pass_too_few_ends_with_an_error(monkeypatch):
    artifact, given = with_passes(monkeypatch, PICTURES - 1)
    with pytest.raises(InternalError) as caught:
        simulate(artifact, TOY, given, batch=PICTURES)
    assert str(caught.value).startswith("run 0: the accelerator reports error WATCHDOG at descriptor ")


def test_a_pass_too_many_gives_the_head_other_weights(monkeypatch):
    artifact, given = with_passes(monkeypatch, PICTURES + 1)
    report = simulate(artifact, TOY, given, batch=PICTURES)
    assert set(report.comparison.wrong_layers) <= {"fc1", "ln", "fc2", "head.fc1", "head.ln", "head.fc2"}
    assert not report.comparison.equal


def test_pictures_that_fill_no_batch_and_layers_of_one_are_refused():
    artifact, given = network(True)
    with pytest.raises(UserError) as caught:
        simulate(artifact, TOY, given[:4], batch=3)
    assert str(caught.value) == "4 pictures are no multiple of a batch of 3; give as many as fill all batches"
    with pytest.raises(UserError) as caught:
        simulate(artifact, TOY, given[:3], batch=3, layer="dw")
    assert str(caught.value) == "layer dw: is compared alone only with a batch of 1"
