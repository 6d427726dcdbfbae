"""Tasks that start while results of the one before are on their way: the proof, the mechanism, and faults that must be found."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from amaranth import Module

from hw.compiler import compile as compiler
from hw.compiler.compile import compile_network
from hw.compiler.early import early_starts, issued_before_end, read_after_start
from hw.compiler.program import Program
from hw.compiler.tasks import Task
from hw.config import TOY, AcceleratorConfig
from hw.control.descriptor import Opcode, Unit
from hw.delay import delayed
from hw.engines.dw_sequencer import DwSequencer
from hw.engines.head_sequencer import HeadSequencer
from hw.engines.mat_sequencer import MatSequencer
from hw.engines.rmac import RMacEngine
from hw.engines.task_state import TaskState
from hw.interfaces import POST_FIELDS
from hw.memory.act_buffer import ActBuffer
from hw.memory.row_ring import RowRing
from hw.timing import OPEN, START
from tests.hw.axi.harness import simulate
from tests.hw.engines.test_networks import with_attention
from tests.hw.engines.walk import descriptor, mat_needs, walk
from tests.support import core_check
from tests.support.networks import NetworkBuilder
from tests.support.tamper import Instead, constant, tampered

#: A short queue, so that maps of few pixels leave time enough.
SHORT = TOY.with_(name="short-queue", result_depth=4)
#: Room for one head a batch.
BATCHED = SHORT.with_(name="short-batches", z_rows=4)
BOTH = int(Unit.MAT | Unit.RMAC)
LIMIT = 2000


def chain(height: int = 16, width: int = 20) -> NetworkBuilder:
    """Products of both engines behind one another, a depthwise layer behind and before one, and a residual."""
    net = NetworkBuilder(30, height, width)
    first = net.pw("a", net.stem(16), 16, "hardswish")
    second = net.pw("b", first, 16)
    net.pw("f", net.pw("e", net.dw("dw", second), 16, residual=second), 5)
    return net


def heads() -> NetworkBuilder:
    """Three batches of heads."""
    net = NetworkBuilder(5, 4, 4)
    net.attention("att", (net.pw("qkv", net.stem(4), 72),), 4, z_bits=15)
    return net


def program_of(net: NetworkBuilder) -> Program:
    return compile_network(net.artifact(), SHORT)


def without_early(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    kept = [{name: value for name, value in task.fields.items() if name not in ("early", "past")} for task in tasks]
    return tuple(replace(task, fields=fields) for task, fields in zip(tasks, kept, strict=True))


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_chain_whose_tasks_all_start_early(stall):
    program, _ = core_check.check(chain(), SHORT, stall=stall, seed=4)
    assert [task.get("early") for task in program.tasks if task.layer in ("a", "b", "dw", "f")] == [BOTH] * 4 + [0]
    assert [task.get("early") for task in program.tasks if task.layer == "e"] == [int(Unit.MAT)] * 2


def test_it_saves_the_way_of_the_last_results(monkeypatch):
    _, early = core_check.check(chain(), SHORT)
    monkeypatch.setattr(compiler, "early_starts", lambda tasks, config: tasks)
    _, late = core_check.check(chain(), SHORT)
    # Four steps; from some 40 cycles each four remain.
    assert early.cycles < late.cycles - 4 * 30


def test_attention_with_early_starts():
    net = with_attention(NetworkBuilder(5, 14, 16), 16, 4, z_bits=15)
    program, _ = core_check.check(net, BATCHED, stall=0.2)
    kinds = {task.opcode for task in program.tasks if task.get("early")}
    assert {Opcode.PW, Opcode.KTV, Opcode.DIV, Opcode.QZ} <= kinds


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_sums_that_follow_early_are_waited_for_one_by_one(stall):
    program, _ = core_check.check(heads(), BATCHED, stall=stall, seed=2)
    kinds = (Opcode.KTV, Opcode.DIV)
    flags = [(task.opcode, task.get("early"), task.get("past")) for task in program.tasks if task.opcode in kinds]
    rmac, mat = int(Unit.RMAC), int(Unit.MAT)
    assert flags == [
        (Opcode.KTV, 0, 0),
        (Opcode.KTV, rmac, 0),
        (Opcode.DIV, 0, rmac),
        (Opcode.KTV, BOTH, 0),
        (Opcode.DIV, mat, rmac),
        (Opcode.DIV, mat, 0),
    ]


# ---- the proof ----------------------------------------------------------------------------------------------------------------


def test_nothing_is_early_that_was_not_known_to_be_harmless():
    tasks = without_early(program_of(chain()).tasks)
    index = next(index for index, task in enumerate(tasks) if task.layer == "b")

    def flags(**changes: int) -> list[int]:
        changed = replace(tasks[index], fields={**tasks[index].fields, **changes})
        return [task.get("early") for task in early_starts((*tasks[:index], changed, *tasks[index + 1 :]), SHORT)]

    assert flags()[index] == BOTH
    # It begins with pixels that were written last; adds what was; writes over what the one before adds.
    last = tasks[index].get("px_end")
    assert flags(px_start=last - 4)[index] == 0
    where = {"act": 2, "res_src": tasks[index].get("src"), "res_base": tasks[index].get("src_base"), "px_start": last - 4}
    assert flags(**where, src=9)[index] == 0
    adds = next(index for index, task in enumerate(tasks) if task.layer == "f")
    residual = tasks[adds - 1]
    over = {"dst": residual.get("res_src"), "dst_base": residual.get("res_base")}
    changed = replace(tasks[adds], fields={**tasks[adds].fields, **over})
    assert early_starts((*tasks[:adds], changed), SHORT)[adds].get("early") == 0
    # It reads other rows of the buffer in which the one before finds what it adds.
    port = {"src": residual.fields["res_src"], "src_base": 900}
    changed = replace(tasks[adds], fields={**tasks[adds].fields, **port})
    assert early_starts((*tasks[:adds], changed), SHORT)[adds].get("early") == 0


def test_who_relies_on_another_s_waiting_waits_for_all_but_the_last_task():
    """DIV finds the sums of the first batch because the second batch's task waits for them, in the program as it is given."""
    tasks = compile_network(heads().artifact(), BATCHED).tasks
    first, second, divisors = (task for task in tasks[3:6])
    assert [task.opcode for task in (first, second, divisors)] == [Opcode.KTV, Opcode.KTV, Opcode.DIV]
    assert second.get("early") == int(Unit.RMAC) and divisors.wait == Unit(0) and divisors.get("past") == int(Unit.RMAC)
    # Behind the first batch's alone it waits for the engine.
    alone = early_starts((*without_early(tasks[:4]), replace(without_early((divisors,))[0], wait=Unit.RMAC)), BATCHED)
    assert (alone[-1].get("early"), alone[-1].get("past")) == (0, 0)


def times(task: Task) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int], int]:
    """By the sequencers: when each word is read first, when the beat that completes it is issued, and when the last beat is."""
    reads: dict[tuple[int, int], int] = {}
    writes: dict[tuple[int, int], int] = {}
    wide, lanes = SHORT.wide, SHORT.l
    if task.opcode is Opcode.DW:
        needs = {"weights": SHORT.weight_rows, "params": SHORT.rmac_param_rows, "space": SHORT.result_depth}
        beats, _, _ = walk(DwSequencer(SHORT), task, SHORT, needs=needs)
    elif task.opcode in (Opcode.KTV, Opcode.POOL):
        needs = {"params": SHORT.rmac_param_rows, "space": SHORT.result_depth}
        beats, _, _ = walk(HeadSequencer(SHORT), task, SHORT, needs=needs)
    else:
        beats, _, _ = walk(MatSequencer(SHORT), task, SHORT, needs=mat_needs(SHORT))
    spread = 1 << task.get("lp")
    for now, beat in enumerate(beats):
        if task.opcode is Opcode.DW:
            groups = wide >> task.get("src_fold")
            for group, lane in product(range(wide), range(lanes)):
                chunk, exists = group // groups, beat["mask"][group // groups] >> lane & 1
                if exists and not beat["outside"][group] >> lane & 1:
                    px = beat["px"] + (chunk * lanes + lane) * task.get("stride")
                    reads.setdefault((px, beat["src_cg"] + group % groups), now)
                if exists and beat["last"]:
                    writes[beat["out_px"] + chunk * lanes + lane, beat["cg"] + group % groups] = now
        elif task.opcode in (Opcode.KTV, Opcode.POOL):
            for px in range(beat["px"], beat["px"] + lanes):
                reads.setdefault((px, beat["k_cg"]), now)
                if task.opcode is Opcode.KTV:
                    reads.setdefault((px, beat["v_cg"]), now)
        else:
            for px in range(beat["px"], beat["px"] + spread):
                reads.setdefault((px, beat["src_cg"]), now)
                if beat["last"]:
                    slots = (lanes // spread) << task.joint >> task.get("wide")
                    writes |= {(px, cg): now for cg in range(beat["cg"], beat["cg"] + slots)}
    return reads, writes, len(beats) - 1


@pytest.mark.parametrize("grow", ["chain", "strided", "folded", "attention", "grouped", "pooled"])
def test_the_proof_s_times_are_bounds_of_what_the_sequencers_do(grow):
    nets: dict[str, Callable[[], NetworkBuilder]] = {
        "chain": chain,
        "strided": lambda: _depthwise(stride=2, kernel=5),
        "folded": lambda: _depthwise(channels=4),
        "attention": lambda: with_attention(NetworkBuilder(5, 8, 12), 16, 8, z_bits=15),
        "grouped": lambda: _grouped(),
        "pooled": lambda: _pooled(),
    }
    checked = 0
    for task in program_of(nets[grow]()).tasks:
        if task.opcode in (Opcode.LOAD, Opcode.STORE, Opcode.LN):
            continue
        reads, writes, last = times(task)
        pixels, groups = max(px for px, _ in reads) + 1, max(cg for _, cg in reads) + 1
        bound = read_after_start(task, SHORT, pixels, groups) - START
        assert all(bound[px, cg] <= when for (px, cg), when in reads.items() if px >= 0), task.layer
        if task.opcode in (Opcode.PW, Opcode.QZ, Opcode.DW):
            ages = issued_before_end(task, SHORT)
            inside = {place: when for place, when in writes.items() if place[0] < ages.shape[0] and place[1] < ages.shape[1]}
            assert all(ages[place] <= last - when for place, when in inside.items()), task.layer
            checked += len(inside)
    assert checked > 20


def _depthwise(channels: int = 9, kernel: int = 3, stride: int = 1) -> NetworkBuilder:
    net = NetworkBuilder(3, 14, 10)
    net.pw("pw", net.dw("dw", net.stem(channels), kernel=kernel, stride=stride), 6)
    return net


def _grouped() -> NetworkBuilder:
    net = NetworkBuilder(11, 6, 6)
    net.pw("gpw", net.pw("pw", net.stem(4), 24), 48, groups=3)
    return net


def _pooled() -> NetworkBuilder:
    net = NetworkBuilder(6, 8, 8)
    net.head(net.stem(8), 13, 21, 10)
    return net


# ---- the mechanism ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken_first", [True, False])
def test_parameters_are_counted_and_given_back_task_by_task(taken_first):
    """The younger task's first result leaves the queue, or the older one's last result has been written before."""
    dut = TaskState(SHORT, SHORT.rmac_param_rows)

    async def testbench(ctx: Any) -> None:
        async def tick(**ports: int) -> None:
            await ctx.tick()
            for name, value in ports.items():
                ctx.set(getattr(dut, name), value)

        def outputs() -> tuple[int, ...]:
            return tuple(ctx.get(port) for port in (dut.occupied, dut.params, dut.params_free))

        await tick(start=1, settled=1, filled=5, results_idle=1)
        await tick(start=0, sequencing=1, results_idle=0, pending=2)
        await tick(used=1, entry=2)
        await tick(used=0, sequencing=0)
        assert outputs() == (0, 5, 0)
        # Two results are on their way when the next task starts, which finds two rows of its own, a cycle later.
        await tick(start=1)
        await tick(start=0, sequencing=1)
        await tick()
        assert outputs() == (1, 2, 0)
        await tick(sequencing=0, pending=3)
        assert outputs() == (1, 2, 0)
        if taken_first:
            await tick(left=1)
            assert outputs() == (1, 2, 3)
            await tick(left=0, filled=2, retired=1)
            await tick(pending=2)
            await tick(retired=0, pending=1)
        else:
            await tick(retired=1)
            await tick(pending=2)
            await tick(retired=0, pending=1)
            assert outputs() == (0, 2, 3)
            await tick(filled=2)
        assert outputs()[0] == 0
        await tick()
        assert outputs() == (0, 2, 0)

    simulate(dut, testbench)


def first_row_read(engine: RMacEngine, rows: int, arrives: int) -> tuple[int, int]:
    """When a depthwise task behind a joint one of ``rows`` rows reads a row of the ring; its first one comes in a cycle."""
    joint = Task("pw", Opcode.PW, {"joint": 1, "px_end": 4, "lp": 2, "tiles": 1, "depth": rows, "early": BOTH})
    pixel = dict.fromkeys(("px_end", "tiles", "dst_cg_end", "stride", "h_in", "w_in", "w_out"), 1)
    own = Task("dw", Opcode.DW, pixel | {"kernel": 3})
    last, wait = 30, engine.read_latency - RowRing.latency
    filled, read = rows, 0

    async def testbench(ctx: Any) -> None:
        nonlocal filled, read
        ctx.set(engine.params_filled, 2)
        ctx.set(engine.task, descriptor(joint))
        ctx.set(engine.start, 1)
        await ctx.tick()
        ctx.set(engine.start, 0)
        ctx.set(engine.task, descriptor(own))
        ctx.set(engine.pending, 1)
        for cycle in range(arrives + 40):
            # MAT issues its last beat in the cycle ``last``.
            ctx.set(engine.joint.sequencing, cycle <= last)
            ctx.set(engine.joint.leave, rows * (cycle == last + 1))
            ctx.set(engine.joint.free, rows * (cycle == last + 1 + wait))
            filled += 3 * (cycle == arrives)
            ctx.set(engine.weights.filled, filled)
            ctx.set(engine.start, cycle == last + OPEN)
            if cycle == last + OPEN:
                assert not ctx.get(engine.occupied)
            if cycle == last + OPEN + 1:
                ctx.set(engine.pending, 0)
            if ctx.get(engine.weights.en) and not read:
                read = cycle
            filled -= ctx.get(engine.weights.free)
            await ctx.tick()

    simulate(engine, testbench)
    return read - (1 + wait), last + OPEN + START


class UncountedRows(RMacEngine):
    """Rows of a joint task are out of account when they are released, not from the beat on that needs them last."""

    def _elaborate_weights(self, m: Module, *args: Any) -> None:
        RMacEngine._elaborate_weights(Instead(self, joint=Instead(self.joint, leave=self.joint.free)), m, *args)


def test_a_depthwise_task_does_not_take_a_joint_one_s_rows_for_its_own():
    """It begins while they are still in the ring, and waits for its own; where those are there, it waits for nothing."""
    for arrives in (5, 80):
        issued, earliest = first_row_read(RMacEngine(SHORT, ActBuffer.read_latency), 4, arrives)
        assert issued == max(earliest, arrives)
    issued, earliest = first_row_read(UncountedRows(SHORT, ActBuffer.read_latency), 4, 80)
    assert issued < 80


# ---- faults -------------------------------------------------------------------------------------------------------------------


class LastSettings(TaskState):
    """Post-processing has the settings of the last task alone."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.start):
            for turn in range(2):
                m.d.sync += [self.tasks[turn][field].eq(self.task[field]) for field in POST_FIELDS]
        return m


def undelayed(*names: str) -> Callable:
    """Delay lines of these names are none."""

    def fault(m: Module, value: Any, cycles: int, name: str, **named: Any) -> Any:
        return value if name in names else delayed(m, value, cycles, name, **named)

    return fault


def all_early(tasks: tuple[Task, ...], config: Any) -> tuple[Task, ...]:
    return tuple(
        replace(task, fields={**task.fields, "early": BOTH}) if task.unit in (Unit.MAT, Unit.RMAC) else task for task in tasks
    )


STATE = ("hw.engines.mat.TaskState", "hw.engines.rmac.TaskState")
FAULTS: dict[str, tuple[tuple[str, ...], Any]] = {
    "settings of the last task only": (STATE, LastSettings),
    "parameters given back at once": (STATE, tampered(TaskState, left=constant(1))),
    "parameters given back with the last result": (STATE, tampered(TaskState, left=constant(0))),
    "older results forgotten": (STATE, tampered(TaskState, pending=constant(0))),
    "results of the next task": (("hw.engines.rmac.delayed",), undelayed("turn")),
    "words meet the next task": (("hw.engines.mat.delayed",), undelayed("task")),
    "words of a joint task meet taps": (("hw.engines.rmac.delayed",), undelayed("pw")),
    "rows of a joint task not read": (("hw.engines.mat.delayed",), undelayed("ring_joint")),
    "weights of the next task read": (("hw.engines.rmac.delayed",), undelayed("ring_pw")),
}


def found(net: NetworkBuilder, config: AcceleratorConfig = SHORT) -> bool:
    """Whether something is wrong with a run of the network."""
    try:
        lines, program, run = core_check.run_network(net, config, limit=LIMIT)
    except (TimeoutError, AssertionError):
        return True
    return bool(lines) or set(core_check.places_written(program, run).values()) != {1}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(monkeypatch, fault):
    targets, replacement = FAULTS[fault]
    for target in targets:
        monkeypatch.setattr(target, replacement)
    assert found(chain())


def test_starts_that_are_too_early_are_found(monkeypatch):
    """A map so small that no task may start early but one that reads nothing of MAT's last results."""
    small = chain(4, 6)
    assert [task.get("early") for task in program_of(small).tasks if task.get("early")] == [int(Unit.MAT)]
    monkeypatch.setattr(compiler, "early_starts", all_early)
    assert found(small)


def test_sums_that_leave_the_engine_behind_the_next_task_s_start_are_found(monkeypatch):
    monkeypatch.setattr("hw.engines.rmac.TaskState", tampered(TaskState, settled=constant(1)))
    assert found(heads(), BATCHED)


def test_sums_that_nobody_waits_for_are_found(monkeypatch):
    def forgotten(tasks: tuple[Task, ...], config: AcceleratorConfig) -> tuple[Task, ...]:
        return tuple(replace(task, fields={**task.fields, "past": 0}) for task in early_starts(tasks, config))

    monkeypatch.setattr(compiler, "early_starts", forgotten)
    assert found(heads(), BATCHED)
