"""What the cycle model foretells, against the simulated hardware and against what must hold of any schedule."""

from dataclasses import replace

import numpy as np
import pytest

import sim.simulate
from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.config import TOY
from hw.control.descriptor import Opcode, Unit
from hw.memory.act_buffer import ActBuffer
from hw.timing import DISPATCH, IDLE, START, Timing
from quant.checkpoints import load
from quant.inspect import layer_table
from sim.bench.runner import RunResult
from sim.cycles.bus import Loading, read_ahead
from sim.cycles.model import Memory, predict, summary
from sim.simulate import MemoryOptions, SimulationReport, simulate
from tests.support.networks import NetworkBuilder
from tests.support.rings import ringed
from tests.support.road import Dram, digits_artifact, held_out, needs_simulator, recorded, toy
from triovit.errors import InternalError

#: The promise: a layer's cycles, and a whole picture's.
LAYER, TOTAL = 0.05, 0.02
LATENCIES = (1, 20, 60)


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_network(digits_artifact(), TOY)


# ---- against the hardware ---------------------------------------------------------------------------------------------------


def measured(latency: int) -> tuple[SimulationReport, RunResult]:
    toy()
    with pytest.MonkeyPatch.context() as patch:
        results = recorded(patch)
        report = simulate(digits_artifact(), TOY, held_out(1), memory=MemoryOptions(latency=latency))
    return report, results[0]


@needs_simulator
@pytest.mark.parametrize("latency", LATENCIES)
def test_every_layer_of_the_built_in_network_takes_what_was_foretold(program, latency):
    report, _ = measured(latency)
    assert report.comparison.equal
    assert len(report.layers) == 33
    wrong = {row.name: (row.predicted, row.cycles) for row in report.layers if abs(row.predicted / row.cycles - 1) > LAYER}
    assert wrong == {}
    assert abs(report.cycles_predicted / report.cycles - 1) <= TOTAL
    assert report.counters["weight_beats_read"] == predict(program).weight_beats == program.weight_beats


@needs_simulator
@pytest.mark.parametrize("latency", LATENCIES)
def test_a_depthwise_task_that_has_waited_begins_like_others(program, latency):
    """Its first result is written so many cycles after its dispatch as its taps take and results are on their way, exactly."""
    _, result = measured(latency)
    timing, tags = Timing.of(TOY), {layer.name: tag for tag, layer in enumerate(digits_artifact().layers)}
    dispatched = [int(cycle) for cycle in result.dispatches["cycle"]]
    way = START - 1 + timing.dw_result + timing.written - ActBuffer.write_latency
    found = {}
    for index, task in enumerate(program.tasks):
        if task.opcode is Opcode.DW:
            waited = dispatched[index] - dispatched[index - 1] - DISPATCH
            assert waited > timing.dw_setup << task.get("src_fold")
            written = result.writes["cycle"][result.writes["tag"] == tags[task.layer]]
            found[task.layer] = int(written[written > dispatched[index]].min()) - dispatched[index] - task.get("kernel") ** 2
    assert found == dict.fromkeys(found, way) and len(found) == 8


@needs_simulator
@pytest.mark.parametrize("latency", LATENCIES)
def test_no_product_s_first_result_is_sooner_than_its_way(program, latency):
    """Where nothing is waited for, it is written so many cycles after its dispatch as its words and its way take, exactly."""
    _, result = measured(latency)
    tags = {layer.name: tag for tag, layer in enumerate(digits_artifact().layers)}
    dispatched = [int(cycle) for cycle in result.dispatches["cycle"]]
    found = []
    for index, task in enumerate(program.tasks):
        alone = [other.layer for other in program.tasks if other.opcode is not Opcode.LOAD].count(task.layer) == 1
        if task.opcode is Opcode.PW and alone:
            written = result.writes["cycle"][result.writes["tag"] == tags[task.layer]]
            found.append(int(written[written > dispatched[index]].min()) - dispatched[index] - task.get("depth"))
    assert min(found) == START - 1 + Timing.of(TOY).mat_written - ActBuffer.write_latency


@needs_simulator
def test_what_units_waited_for():
    toy()
    memories = (MemoryOptions(latency=1), MemoryOptions(latency=60), MemoryOptions(latency=1, stall=30))
    reports = [simulate(digits_artifact(), TOY, held_out(1), memory=memory) for memory in memories]
    quick, late, stalled = ({(wait.unit, wait.awaited): wait.cycles for wait in report.waits} for report in reports)
    # The stem follows LOAD, and products follow depthwise convolutions.
    assert quick["MAT", "pixels of R-MAC or LOAD"] > 0
    # The first beat of weights is waited for as long as the memory takes, each one where it pauses, and the picture too.
    assert late["weight stream", "memory"] - quick["weight stream", "memory"] >= 59
    for unit, awaited in (("weight stream", "memory"), ("LOAD", "memory"), ("MAT", "weights")):
        assert stalled[unit, awaited] > quick[unit, awaited] + 50, (unit, awaited)


@needs_simulator
@pytest.mark.parametrize("latency", LATENCIES)
def test_load_and_store_take_what_was_foretold(program, latency):
    _, result = measured(latency)
    foretold = {time.task.opcode: time.end - time.start for time in predict(program, Memory(latency)).tasks}
    for opcode, unit in ((Opcode.LOAD, Unit.LOAD), (Opcode.STORE, Unit.STORE)):
        took = [interval.end - interval.start for interval in result.intervals if interval.unit is unit]
        assert len(took) == 1
        assert abs(foretold[opcode] - took[0]) <= max(3, LAYER * took[0]), opcode


@needs_simulator
@pytest.mark.parametrize(("height", "width"), [(8, 8), (30, 20), (16, 48), (44, 44)])
def test_load_of_other_pictures_with_and_without_a_weight_stream_beside_it(height, width):
    toy()
    net = NetworkBuilder(1, height, width)
    artifact = net.head(net.pw("pw", net.stem(5), 16), 8, 8, 4).artifact()
    dram = Dram(artifact, np.zeros((3, height, width), np.uint8))
    whole = dram.add()
    load = dram.program.tasks[0]
    # In a ring LOAD would wait for a stem that has no weights.
    assert not load.get("dst_ring")
    ahead = read_ahead([packet for task in dram.program.tasks for packet in task.packets], TOY)
    for latency in (20, 150):
        run = dram.run(whole, whole.changed(weights_beats=0, watchdog=3000), latency=latency)
        took = [interval.end - interval.start for interval in run.intervals if interval.unit is Unit.LOAD]
        start = latency + 12
        foretold = [Loading(load, TOY, latency, start, beats).end - start for beats in (ahead, (0, 0))]
        assert all(abs(a - b) <= max(15, LAYER * b / 2) for a, b in zip(foretold, took, strict=True)), (latency, took, foretold)


@needs_simulator
@pytest.mark.parametrize(("channels", "ring", "bands"), [(5, 2, 1), (24, 2, 1), (24, 4, 2)])
def test_load_and_the_stem_share_a_ring(monkeypatch, channels, ring, bands):
    """The stem is faster than LOAD, or LOAD has to wait for it."""
    toy()
    net = NetworkBuilder(3, 22, 30)
    artifact = net.head(net.pw("pw", net.stem(channels), 16), 8, 8, 4).artifact()
    pictures = np.random.default_rng(5).integers(0, 256, (1, 3, 22, 30)).astype(np.uint8)
    monkeypatch.setattr(sim.simulate, "compile_network", lambda *args: ringed(compile_network(*args), ring, bands))
    results = recorded(monkeypatch)
    report = simulate(artifact, TOY, pictures, memory=MemoryOptions(latency=20))
    assert report.comparison.equal
    wrong = {row.name: (row.predicted, row.cycles) for row in report.layers if abs(row.predicted / row.cycles - 1) > LAYER}
    assert wrong == {}
    foretold = predict(ringed(compile_network(artifact, TOY), ring, bands), Memory(20)).tasks[0]
    took = next(interval.end - interval.start for interval in results[0].intervals if interval.unit is Unit.LOAD)
    assert abs(foretold.end - foretold.start - took) <= LAYER * took


def test_a_ring_that_the_stem_never_reads_is_no_program():
    net = NetworkBuilder(3, 22, 30)
    net.head(net.pw("pw", net.stem(5), 16), 8, 8, 4)
    ring = ringed(compile_network(net.artifact(), TOY), 2)
    stuck = replace(ring, tasks=tuple(replace(task, fields={**task.fields, "behind_load": 0, "gated": 0}) for task in ring.tasks))
    with pytest.raises(InternalError, match="LOAD waits for room in a ring of 16 pixels"):
        predict(stuck)


@needs_simulator
@pytest.mark.parametrize("seed", [21, 22])
def test_a_network_that_the_model_was_not_made_with(seed):
    toy()
    net = NetworkBuilder(seed, 24, 32)
    stem = net.stem(8)
    trunk = net.pw("mb.pw2", net.dw("mb.dw", net.pw("mb.pw1", stem, 30, "hardswish"), stride=1 + seed % 2), 12)
    qkv = net.pw("qkv", trunk, 24)
    trunk = net.pw("proj", net.attention("att", (qkv,), 4, z_bits=8 if seed % 2 else 15), 12, residual=trunk)
    report = simulate(net.head(trunk, 20, 24, 6).artifact(), TOY, np.zeros((1, 3, 24, 32), np.uint8))
    assert report.comparison.equal
    assert abs(report.cycles_predicted / report.cycles - 1) <= TOTAL
    off = {row.name: (row.predicted, row.cycles) for row in report.layers}
    assert {name: (a, b) for name, (a, b) in off.items() if abs(a - b) > max(4, LAYER * b)} == {}


# ---- what must hold of any schedule --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latency", LATENCIES)
def test_tasks_start_in_order_and_only_when_their_units_are_free(program, latency):
    """Idle, or, where the task's ``early`` says so, done with the work of their last task."""
    prediction = predict(program, Memory(latency))
    assert [time.task for time in prediction.tasks] == list(program.tasks)
    idle, worked = dict.fromkeys(Unit, 0), dict.fromkeys(Unit, 0)
    before = early_ones = 0
    for time in prediction.tasks:
        assert time.start > before, time.task
        needed = time.task.wait | time.task.unit | (Unit.RMAC if time.task.joint else Unit(0))
        early = Unit(time.task.get("early"))
        assert all((worked if unit & early else idle)[unit] <= time.start for unit in Unit if unit & needed), time.task
        early_ones += any(idle[unit] > time.start for unit in Unit if unit & needed & early)
        assert time.end - time.start >= time.work
        before = time.start
        for unit in Unit:
            if unit & time.task.unit or (unit is Unit.RMAC and time.task.joint):
                idle[unit], worked[unit] = time.end, time.start + time.work
    assert early_ones > 0
    assert prediction.cycles >= max(idle.values())


def test_a_slower_memory_never_helps(program):
    cycles = [predict(program, Memory(latency)).cycles for latency in (0, 1, 20, 60, 100)]
    assert cycles == sorted(cycles)
    # Everything is read ahead: little more than the fetch at the start and the answer at the end is waited for.
    assert 0 < cycles[-1] - cycles[0] < 3 * 100


def test_engines_overlap(program):
    """Depthwise beside the product that follows it, and beside the heads that do not wait for the aggregation."""
    times = predict(program).tasks
    gated = [index for index, time in enumerate(times) if time.task.get("gated") and not time.task.get("behind_load")]
    followed = [next(time for time in reversed(times[:index]) if time.task.opcode is Opcode.DW) for index in gated]
    assert len(gated) >= 4
    # R-MAC's next task may be the one that begins when MAT's has ended, and MAT's when it has issued its last beat, for which it
    # needs R-MAC's last result: R-MAC counts as idle a little later.
    assert all(times[index].start < first.end <= times[index].end + IDLE for index, first in zip(gated, followed, strict=True))
    depthwise = [time for time in times if time.task.layer.endswith("agg.dw5")]
    divisions = [time for time in times if time.task.opcode in (Opcode.DIV, Opcode.QZ)]
    assert any(a.start < b.end and b.start < a.end for a in depthwise for b in divisions)


def test_the_network_s_products_are_those_of_the_layer_table(program):
    table = layer_table(load("digits").spec)
    prediction = predict(program)
    assert prediction.macs == summary(program)["macs"] == table.macs
    assert prediction.cycles * TOY.multipliers > table.macs


def test_layers_cover_the_picture(program):
    prediction = predict(program)
    spans = prediction.layers()
    # Heads that do not wait for the aggregation come before it.
    assert sorted(spans) == sorted(layer.name for layer in digits_artifact().layers)
    assert all(start < end <= prediction.cycles for start, end in spans.values())
    assert summary(program)["cycles"] == prediction.cycles


def test_what_is_read_ahead_ends_where_a_ring_is_full(program):
    packets = [packet for task in program.tasks for packet in task.packets]
    ahead, wanted = read_ahead(packets, TOY)
    assert 0 < ahead < wanted < program.weight_beats
    assert wanted - ahead == 8 * TOY.axi_burst
    boundless = TOY.with_(weight_rows=1 << 14, param_rows=1 << 14)
    assert read_ahead(packets, boundless) == (program.weight_beats, program.weight_beats)
    assert read_ahead([], TOY) == (0, 0)
