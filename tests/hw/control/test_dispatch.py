"""The dispatcher: order, waiting, checks; the watchdog."""

import random

import pytest
from amaranth.hdl import Value

from hw.config import TOY
from hw.control.descriptor import Opcode, Unit
from hw.control.dispatch import RUNS_ON, Dispatch
from hw.control.errors import ErrorCode
from hw.control.watchdog import Watchdog
from tests.hw.axi.harness import Stalls, send, simulate
from tests.hw.control.programs import VALID, as_payload, descriptor, pretend


def run(blobs: list[bytes], seed: int = 0) -> tuple[list, list, dict[str, int], Stalls, list]:
    """Log of the units, trace of the dispatcher, its final outputs, and the stalls at both ends."""
    dut = Dispatch(TOY)
    log: list = []
    trace: list = []
    now = 0
    final: dict[str, int] = {}
    stalls, blocked = Stalls(seed), []

    async def watch(ctx):
        nonlocal now
        while True:
            *_, dispatched, tag, unit, mat, rmac, joint = await ctx.tick().sample(
                dut.dispatched, dut.tag, dut.unit, dut.mat.busy, dut.rmac_busy, dut.mat.task.joint)
            now += 1
            if dispatched:
                trace.append((tag, unit, mat, rmac, joint))

    async def source(ctx):
        await send(ctx, dut.i, [as_payload(blob) for blob in blobs], stalls, blocked)

    async def finish(ctx):
        while not (ctx.get(dut.done) or ctx.get(Value.cast(dut.error))):
            await ctx.tick()
        for _ in range(5):
            await ctx.tick()
        final.update(done=ctx.get(dut.done), error=ctx.get(Value.cast(dut.error)), index=ctx.get(dut.index))

    units = [pretend(getattr(dut, name), log, name, seed + index, cycle=lambda: now)
             for index, name in enumerate(("mat", "rmac", "load", "store"))]
    simulate(dut, finish, background=[watch, source, *units])
    return log, trace, final, stalls, blocked


def mat_starts(dut: Dispatch, task: bytes, high: tuple, falls: dict, cycles: int) -> list[int]:
    """Cycles in which a task for MAT is started, while ports that are high at first fall one after the other."""
    starts: list[int] = []

    async def testbench(ctx):
        for port in high:
            ctx.set(port, 1)
        await send(ctx, dut.i, [as_payload(task)], Stalls(0), [])
        for cycle in range(cycles):
            if cycle in falls:
                ctx.set(falls[cycle], 0)
            if ctx.get(dut.mat.start):
                starts.append(cycle)
            await ctx.tick()

    simulate(dut, testbench)
    return starts


@pytest.mark.parametrize("early", [0, 1, 2, 3])
def test_an_early_task_waits_for_what_is_occupied_only(early):
    """Both engines are busy; then MAT can take another task, then R-MAC, then they fall idle."""
    dut = Dispatch(TOY)
    high = (dut.mat.busy, dut.rmac.busy, dut.mat_occupied, dut.rmac_occupied)
    events = {10: dut.mat_occupied, 20: dut.rmac_occupied, 30: dut.mat.busy, 40: dut.rmac.busy}
    starts = mat_starts(dut, descriptor(Opcode.PW, wait=15, early=early), high, events, 50)
    # The later of the two: MAT is free at 10 or 30, R-MAC at 20 or 40.
    assert starts == [max(10 if early & Unit.MAT else 30, 20 if early & Unit.RMAC else 40)]


@pytest.mark.parametrize("past", [0, 1, 2, 3])
def test_a_task_waits_for_what_came_before_an_engine_s_last_task(past):
    """Another engine's last task still runs."""
    dut = Dispatch(TOY)
    high = (dut.rmac.busy, dut.rmac_occupied, dut.mat_trailing, dut.rmac_trailing)
    events = {10: dut.mat_trailing, 20: dut.rmac_trailing}
    starts = mat_starts(dut, descriptor(Opcode.DIV, past=past), high, events, 30)
    assert len(starts) == 1 and (starts[0] < 10 if not past else starts[0] == (20 if past & Unit.RMAC else 10))


def pending_cycles(blobs: list[bytes], held: int, cycles: int = 40) -> tuple[list[int], list[int], set[int]]:
    """Cycles in which a DW is pending and in which R-MAC gets a task, and the tags then shown; R-MAC is busy before ``held``."""
    dut = Dispatch(TOY)
    pending, starts, tags = [], [], set()

    async def testbench(ctx):
        for cycle in range(cycles):
            ctx.set(dut.rmac.busy, cycle < held)
            if ctx.get(dut.rmac_pending):
                pending.append(cycle)
                tags.add(ctx.get(dut.rmac.task.tag))
            if ctx.get(dut.rmac.start):
                starts.append(cycle)
            await ctx.tick()

    async def source(ctx):
        await send(ctx, dut.i, [as_payload(blob) for blob in blobs], Stalls(0), [])

    simulate(dut, testbench, background=[source])
    return pending, starts, tags


@pytest.mark.parametrize("held", [0, 20])
def test_a_depthwise_task_is_pending_from_its_check_to_its_start(held):
    """R-MAC can prepare it, and nothing else: not a task of another kind, nor one that was refused."""
    pending, (start,), tags = pending_cycles([descriptor(Opcode.DW, tag=3)], held)
    first = pending[0]
    assert pending == list(range(first, start + 1)) and tags == {3}
    assert start == max(first, held) and first < 5
    for opcode in set(RUNS_ON) - {Opcode.DW}:
        assert pending_cycles([descriptor(opcode)], held)[0] == []
    assert pending_cycles([descriptor(Opcode.DW, kernel=4)], held) == ([], [], set())


@pytest.mark.parametrize("seed", range(4))
def test_order_and_wait_masks_are_kept(seed):
    rng = random.Random(seed)
    tasks = []
    for tag in range(60):
        opcode = rng.choice(list(RUNS_ON))
        joint = int(opcode is Opcode.PW and rng.random() < 0.5)
        tasks.append((opcode, tag, rng.getrandbits(4), joint))
    blobs = [descriptor(opcode, tag=tag, wait=wait, joint=joint) for opcode, tag, wait, joint in tasks]
    log, trace, final, stalls, blocked = run([*blobs, descriptor(Opcode.END, tag=999)], seed)
    assert final == {"done": 1, "error": 0, "index": len(tasks)}
    assert stalls.count > 10
    assert len(blocked) > 50

    started = [entry[3] for entry in log if entry[1] == "start"]
    assert sorted(started) == list(range(60))
    assert [tag for tag, *_ in trace] == [*range(60), 999]
    assert [unit for _, unit, *_ in trace] == [*(int(RUNS_ON[opcode]) for opcode, *_ in tasks), 0]
    span: dict[int, list[int]] = {}
    for cycle, what, _, tag, _ in log:
        span.setdefault(tag, [0, 0])[what == "end"] = cycle
    uses = {tag: RUNS_ON[opcode] | (Unit.RMAC if joint else 0) for opcode, tag, _, joint in tasks}
    overlapped = 0
    for _, tag, wait, joint in tasks:
        for earlier in range(tag):
            if uses[earlier] & (uses[tag] | wait | (Unit.RMAC if joint else 0)):
                assert span[earlier][1] <= span[tag][0], (earlier, tag)
            overlapped += span[earlier][1] > span[tag][0]
    assert overlapped > 10, "nothing ran in parallel"


def test_a_joint_task_occupies_rmac_without_a_wait_mask():
    blobs = [descriptor(Opcode.DW, tag=1), descriptor(Opcode.PW, tag=2, joint=1), descriptor(Opcode.DW, tag=3),
             descriptor(Opcode.PW, tag=4), descriptor(Opcode.DW, tag=5), descriptor(Opcode.END)]
    log, *_ = run(blobs)
    order = [(what, tag) for _, what, _, tag, _ in log]
    assert order[:5] == [("start", 1), ("end", 1), ("start", 2), ("end", 2), ("start", 3)]
    # An alone PW does not: it starts while the depthwise task before it still runs.
    assert order.index(("start", 4)) < order.index(("end", 3))


BAD = [
    *((opcode, {"lp": 3}) for opcode in RUNS_ON),
    (Opcode.PW, {"src_skew": 3}),
    (Opcode.PW, {"res_skew": 3}),
    (Opcode.DW, {"src_ring": 1, "src_fold": 2}), (Opcode.PW, {"dst_ring": 1, "dst_fold": 2}),
    (Opcode.KTV, {"heads": 0}),
    *((opcode, {"tiles": 0}) for opcode in VALID if "tiles" in VALID[opcode]),
    *((opcode, {"depth": 0}) for opcode in VALID if "depth" in VALID[opcode]),
    *((opcode, {"px_end": 0}) for opcode in VALID if "px_end" in VALID[opcode]),
    (Opcode.PW, {"px_start": 5, "px_end": 5}),
    (Opcode.DW, {"kernel": 4}), (Opcode.DW, {"kernel": 0}), (Opcode.DW, {"stride": 0}), (Opcode.DW, {"stride": 3}),
    (Opcode.LOAD, {"stride": 1}), (Opcode.LOAD, {"w_in": 5}), (Opcode.LOAD, {"w_in": 2}), (Opcode.LOAD, {"h_in": 0}),
    (Opcode.LOAD, {"w_in": TOY.max_picture_width + 2}), (Opcode.STORE, {"dst_cg_end": 0}),
]


@pytest.mark.parametrize(("opcode", "changes"), BAD)
def test_impossible_fields_are_refused(opcode, changes):
    log, _, final, *_ = run([descriptor(Opcode.LN), descriptor(opcode, tag=7, **changes), descriptor(Opcode.END)])
    assert final == {"done": 0, "error": ErrorCode.BAD_FIELD.value, "index": 1}
    assert all(tag != 7 for *_, tag, _ in log)


def test_bad_magic_and_opcode_are_told_apart():
    good = descriptor(Opcode.LN)
    wrong_magic = bytes([0x12]) + bytes(63)
    wrong_opcode = bytes([good[0], good[1] | 0x0F]) + good[2:]
    for blob, code in ((wrong_magic, ErrorCode.BAD_MAGIC), (wrong_opcode, ErrorCode.BAD_OPCODE)):
        *_, final, _, _ = run([good, good, blob])
        assert final == {"done": 0, "error": code.value, "index": 2}


def test_every_valid_task_is_accepted():
    log, _, final, *_ = run([descriptor(opcode) for opcode in RUNS_ON] + [descriptor(Opcode.END)])
    assert final["done"] == 1
    assert sum(what == "start" for _, what, *_ in log) == len(RUNS_ON)


def test_watchdog_counts_from_the_last_progress():
    dut = Watchdog()

    async def testbench(ctx):
        async def silence(cycles):
            for _ in range(cycles):
                assert ctx.get(dut.expired) == 0
                await ctx.tick()

        ctx.set(dut.limit, 7)
        await silence(20)
        ctx.set(dut.enable, 1)
        await silence(6)
        ctx.set(dut.progress, 1)
        await silence(3)
        ctx.set(dut.progress, 0)
        await silence(7)
        assert ctx.get(dut.expired) == 1
        await ctx.tick()
        assert ctx.get(dut.expired) == 1
        ctx.set(dut.enable, 0)
        await ctx.tick()
        ctx.set(dut.limit, 0)
        ctx.set(dut.enable, 1)
        await silence(20)

    simulate(dut, testbench)
