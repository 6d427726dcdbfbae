"""Walks a sequencer through a task: every beat that it issues."""

import random
from typing import Any

from hw.compiler.tasks import Task
from hw.config import TOY, AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Act, Buffer
from hw.engines.dw_sequencer import DwSequencer
from tests.hw.units.drive import plain, simulate

EIGHT = TOY.with_(name="eight", l=8)


def descriptor(task: Task) -> Any:
    """The task as the engines see it."""
    enums = {"opcode": task.opcode, "src": Buffer.X, "dst": Buffer.D, "dst2": Buffer.X, "res_src": Buffer.X, "act": Act.NONE}
    return DESCRIPTOR.const({name: value for name, value in task.fields.items() if name not in enums} | enums)


def walk(
    dut: Any,
    task: Task,
    config: AcceleratorConfig,
    *,
    needs: dict[str, int],
    stall: float = 0.0,
    before: Task | None = None,
    waited: int = 0,
    behind: int = 1 << 20,
) -> tuple[list[dict], int, int]:
    """All beats of a task, the results that it issued and the cycles that it took; ``needs`` stay away in some cycles.

    It starts as soon as the one ``before`` has ended. A DW is pending in ``waited`` cycles before its dispatch, and from the
    cycle ``behind`` of another one's on.
    """
    rng, beats = random.Random(3), []
    totals = {"issued": 0, "cycles": 0}

    async def testbench(ctx: Any) -> None:
        def pending(coming: Task | None) -> None:
            if isinstance(dut, DwSequencer):
                ctx.set(dut.pending, coming is not None)
                # Whatever comes when none is pending.
                ctx.set(dut.coming, descriptor(coming) if coming else DESCRIPTOR.const({"src_fold": 3, "w_out": 77}))

        for one in [task] if before is None else [before, task]:
            beats.clear()
            pending(one)
            for _ in range(waited + 1 if isinstance(dut, DwSequencer) else 0):
                await ctx.tick()
            pending(None)
            totals.update(issued=0, cycles=0)
            ctx.set(dut.task, descriptor(one))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while ctx.get(dut.busy) or ctx.get(dut.beat_valid):
                if one is before and totals["cycles"] == behind:
                    pending(task)
                for name, value in needs.items():
                    ctx.set(getattr(dut, name), 0 if rng.random() < stall else value)
                if ctx.get(dut.beat_valid):
                    beat = ctx.get(dut.beat)
                    beats.append({name: plain(beat[name]) for name in dut.beat.shape().members})
                totals["issued"] += ctx.get(dut.issue)
                await ctx.tick()
                totals["cycles"] += 1
                assert totals["cycles"] < 2000, "no end"

    simulate(dut, testbench)
    return beats, totals["issued"], totals["cycles"]


def mat_needs(config: AcceleratorConfig) -> dict[str, int]:
    return {"weights": config.weight_rows, "params": config.mat_param_rows, "ready": 1, "ln_done": 1, "progress": 0xFFFF}


def rmac_needs(config: AcceleratorConfig) -> dict[str, int]:
    return {"weights": config.weight_rows, "params": config.rmac_param_rows, "space": config.result_depth}
