"""Two tasks of an engine at a time: whatever the timing, every task gives back just the parameters that it used."""

import random
from dataclasses import dataclass

import pytest
from amaranth.sim import Simulator

from hw.config import TOY
from hw.control.descriptor import DESCRIPTOR, Opcode
from hw.engines.task_state import TaskState


@dataclass
class Result:
    """One result on its way: which of two tasks it is of, and when it leaves the queue and is written."""

    turn: int
    leaves: int
    written: int


@pytest.mark.parametrize("seed", range(4))
def test_every_task_gives_back_the_parameters_that_it_used(seed):
    rng = random.Random(seed)
    dut = TaskState(TOY, TOY.mat_param_rows)
    lengths = [rng.randint(1, 3) if rng.random() < 0.7 else rng.randint(4, 12) for _ in range(300)]
    seen = {"freed": 0, "most": 0, "at once": 0}
    expected: list[int] = []

    async def bench(ctx):
        way: list[Result] = []
        waiting, cycle = list(lengths), 0
        left_to_issue: list[int] = []
        start_next = 0
        last_leave = 0
        trailing_before = 0
        while waiting or left_to_issue or way:
            busy, occupied = ctx.get(dut.busy), ctx.get(dut.occupied)
            started = ctx.get(dut.started)
            retired = bool(way) and way[0].written == cycle
            leaving = [result for result in way if result.leaves == cycle]
            turn = ctx.get(dut.turn)
            used = bool(left_to_issue) and not started and rng.random() < 0.8
            ctx.set(dut.pending, len(way))
            ctx.set(dut.results_idle, not way)
            ctx.set(dut.retired, retired)
            ctx.set(dut.left, any(result.turn == turn for result in leaving))
            ctx.set(dut.sequencing, bool(left_to_issue))
            ctx.set(dut.settled, 1)
            ctx.set(dut.used, used)
            if used:
                ctx.set(dut.entry, left_to_issue[0])
            occupied, trailing = ctx.get(dut.occupied), ctx.get(dut.trailing)
            start = bool(waiting) and not (occupied if busy else 0) and cycle >= start_next
            ctx.set(dut.start, start)
            if start:
                rows = waiting.pop(0)
                expected.append(rows)
                ctx.set(dut.task, DESCRIPTOR.const({"opcode": Opcode.PW}))
                seen["at once"] += trailing_before and not trailing
            trailing_before = trailing
            seen["freed"] += ctx.get(dut.params_free)
            seen["most"] = max(seen["most"], ctx.get(dut.params_free))
            if used:
                left_to_issue.pop(0)
                last_leave = max(last_leave + 1, cycle + rng.randint(2, 12))
                way.append(Result(turn, last_leave, last_leave + 6))
            if retired:
                way.pop(0)
            if start:
                left_to_issue = list(range(rows))
                start_next = cycle + (0 if rng.random() < 0.7 else rng.randint(1, 30))
            await ctx.tick()
            cycle += 1
        ctx.set(dut.start, 0)
        for name in ("pending", "retired", "left", "sequencing", "used"):
            ctx.set(getattr(dut, name), 0)
        ctx.set(dut.results_idle, 1)
        for _ in range(4):
            seen["freed"] += ctx.get(dut.params_free)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen["freed"] == sum(expected) == sum(lengths)
    # The case that is easily missed: a task starts in the cycle in which the one before the last has just ended.
    assert seen["at once"] > 3
