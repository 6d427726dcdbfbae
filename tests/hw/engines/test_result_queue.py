"""The queue of results alone: order, and credits for what is under way."""

import random
from typing import Any

from hw.config import TOY
from hw.engines.result_queue import ResultQueue
from tests.hw.units.drive import simulate


def test_result_queue_keeps_order_and_credits():
    rng = random.Random(2)
    dut = ResultQueue(TOY, 2)
    depth = TOY.result_depth
    issued: list[int] = []
    pushed: list[int] = []
    popped: list[int] = []
    seen = {"full": 0, "idle": 0}

    async def testbench(ctx: Any) -> None:
        number = retired = 0
        assert ctx.get(dut.space) == depth and ctx.get(dut.idle)
        for cycle in range(600):
            slow = cycle % 200 < 100
            space = ctx.get(dut.space)
            # Credits: what is reserved and not popped yet.
            assert space == depth - (number - len(popped))
            assert bool(ctx.get(dut.idle)) == (number == retired)
            seen["full"] += space == 0
            seen["idle"] += number == retired
            issue = min(space, rng.randrange(3)) if cycle < 550 else 0
            issued.extend(range(number, number + issue))
            push = len(pushed) < len(issued) - issue and rng.random() < 0.7
            ctx.set(dut.issue, issue)
            ctx.set(dut.push, push)
            ctx.set(dut.payload, {"px": len(pushed), "mask": 1})
            ctx.set(dut.o.ready, rng.random() < (0.2 if slow else 0.9))
            retire = retired < len(popped) and rng.random() < 0.8
            ctx.set(dut.retired, retire)
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                popped.append(ctx.get(dut.o.payload.px))
            await ctx.tick()
            number += issue
            retired += retire
            if push:
                pushed.append(len(pushed))

    simulate(dut, testbench)
    assert popped == list(range(len(popped))) and len(popped) > 100
    assert all(count > 5 for count in seen.values()), seen
