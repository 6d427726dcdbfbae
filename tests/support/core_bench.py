"""Runs compiled programs on the bare datapath in Amaranth's simulator, with random stalls, and collects what it writes."""

import random
from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import Simulator

from hw.compiler.packets import PARAMS, RECORD, WEIGHTS, Packet
from hw.compiler.program import Program
from hw.compiler.tasks import Task
from hw.control.descriptor import DESCRIPTOR, Buffer, Opcode, Unit, unpack
from hw.core import TRACES, Core
from hw.io.loader import unfold_split
from hw.memory.bank_buffer import BankBuffer


@dataclass
class CoreRun:
    """What happened: one record a written result, dispatch and end of each task."""

    writes: list[dict] = field(default_factory=list)
    dispatched: list[tuple[Task, int]] = field(default_factory=list)
    cycles: int = 0
    stalls: int = 0


def _ring_words(packet: Packet, config) -> list[dict]:
    slots = config.l >> packet.split
    beats = []
    for row in packet.payload:
        for slot, raw in enumerate(row):
            banks = sum(1 << block for block in range(config.l) if block >> packet.split == slot)
            if packet.kind in WEIGHTS.values():
                word = raw.view(np.int8).reshape(config.n, config.m).tolist()
            else:
                records = raw[: config.m * RECORD.itemsize].view(RECORD)
                word = [{name: int(record[name]) for name in ("bias", "mult", "shift", "three", "zero")} for record in records]
            beats.append({"data": word, "banks": banks, "last": int(slot == slots - 1)})
    return beats


def unfold(picture: np.ndarray, pads: list[int]) -> np.ndarray:
    """``[P, 27]`` in LOAD's order (kx, ky, channel) from ``[3, H, W]`` uint8."""
    _, height, width = picture.shape
    padded = np.empty((3, height + 2, width + 2), np.int64)
    for c in range(3):
        padded[c] = pads[c]
        padded[c, 1:-1, 1:-1] = picture[c].astype(np.int64) - 128
    taps = [
        padded[c, ky : ky + height : 2, kx : kx + width : 2].reshape(-1) for kx in range(3) for ky in range(3) for c in range(3)
    ]
    return np.stack(taps, axis=1)


def run_core(
    program: Program, picture: np.ndarray, *, pads: list[int], stall: float = 0.0, seed: int = 0, limit: int = 200_000
) -> CoreRun:
    """Run a program: rings are fed from its packets, LOAD is done by the bench beside the engines, STORE is left out."""
    config = program.config
    dut, run, rng = Core(config), CoreRun(), random.Random(seed)
    names = {
        WEIGHTS["mat"]: "mat_weights",
        WEIGHTS["rmac"]: "rmac_weights",
        PARAMS["mat"]: "params",
        PARAMS["rmac"]: "params",
    }
    done, loading, consumed, depthwise = False, None, 0, seed

    async def feed(ctx):
        for task in program.tasks:
            for packet in task.packets:
                port = getattr(dut, names[packet.kind])
                ring = {"ring": int(packet.kind == PARAMS["rmac"])} if packet.kind in PARAMS.values() else {}
                for beat in _ring_words(packet, config):
                    while rng.random() < stall:
                        run.stalls += 1
                        await ctx.tick()
                    ctx.set(port.payload, beat | ring)
                    ctx.set(port.valid, 1)
                    await ctx.tick().until(port.ready)
                    ctx.set(port.valid, 0)

    async def dispatch(ctx):
        nonlocal done, loading, consumed, depthwise
        for task in program.tasks:
            if task.opcode is Opcode.STORE:
                continue
            needs = task.wait | task.unit | (Unit.RMAC if task.joint else Unit(0))
            early, past = task.get("early"), task.get("past")
            values = unpack(task.descriptor())
            ctx.set(
                dut.task,
                DESCRIPTOR.const(
                    {name: values[name] for name in values if name not in ("opcode", "src", "dst", "dst2", "act", "res_src")}
                    | {"opcode": Opcode(values["opcode"]), "act": task.fields.get("act", 0)}
                    | {name: Buffer(values[name]) for name in ("src", "dst", "dst2", "res_src")}
                ),
            )
            # Sooner than the dispatcher, which takes and checks it first; every second one as if it had found R-MAC idle.
            depthwise += task.opcode is Opcode.DW
            ctx.set(dut.rmac_pending, task.opcode is Opcode.DW and depthwise % 2)
            while (
                (needs & Unit.MAT and ctx.get(dut.mat_occupied if early & Unit.MAT else dut.mat_busy))
                or (needs & Unit.RMAC and ctx.get(dut.rmac_occupied if early & Unit.RMAC else dut.rmac_busy))
                or (needs & Unit.LOAD and loading is not None)
                or (past & Unit.MAT and ctx.get(dut.mat_trailing))
                or (past & Unit.RMAC and ctx.get(dut.rmac_trailing))
            ):
                await ctx.tick()
            if task.opcode is Opcode.LOAD:
                loading, consumed = task, 0
                ctx.set(dut.load_progress, 0)
                continue
            start = dut.mat_start if task.unit is Unit.MAT else dut.rmac_start
            ctx.set(start, 1)
            ctx.set(dut.rmac_pending, task.opcode is Opcode.DW)
            await ctx.tick()
            ctx.set(start, 0)
            ctx.set(dut.rmac_pending, 0)
            run.dispatched.append((task, 0))
        while ctx.get(dut.mat_busy) or ctx.get(dut.rmac_busy) or loading is not None:
            await ctx.tick()
        done = True

    async def load(ctx):
        nonlocal loading
        while True:
            while loading is None:
                await ctx.tick()
            await unfolding(ctx, loading)
            loading = None

    async def unfolding(ctx, task):
        # The memory's answer takes longer than the first weights.
        await ctx.tick().repeat(60)
        values, split, groups, width = unfold(picture, pads), unfold_split(config), task.get("dst_cg_end"), task.get("w_out")
        at_once, groups_at_once = 1 << split, config.l >> split
        flat = np.zeros((len(values), groups * config.m), np.int64)
        flat[:, :27] = values
        room = config.l << task.get("dst_ring") if task.get("dst_ring") else len(flat)
        for px in (row + x for row in range(0, len(flat), width) for x in range(0, width, at_once)):
            count = min(at_once, width - px % width)
            while px + count > consumed + room:
                await ctx.tick()
            for cg in range(0, groups, groups_at_once):
                slots = [(px + i % at_once, cg + i // at_once) if i % at_once < count else (0, groups) for i in range(config.l)]
                ctx.set(
                    dut.load,
                    {
                        "mask": sum(1 << i for i, (_, group) in enumerate(slots) if group < groups),
                        "px": px,
                        "cg": cg,
                        "split": split,
                        "base": task.get("dst_base"),
                        "rows": task.get("dst_rows"),
                        "ring": task.get("dst_ring"),
                        "words": [
                            flat[pixel, group * config.m : (group + 1) * config.m].tolist() if group < groups else [0] * config.m
                            for pixel, group in slots
                        ],
                    },
                )
                ctx.set(dut.load_valid, 1)
                await ctx.tick().until(dut.load_ready)
                ctx.set(dut.load_valid, 0)
            # Without room there must be something to read.
            if rng.random() < 0.3 or px + at_once + count > consumed + room:
                await ctx.tick().repeat(BankBuffer.write_latency)
                ctx.set(dut.load_progress, px + count)
        await ctx.tick().repeat(BankBuffer.write_latency)
        ctx.set(dut.load_progress, len(flat))

    async def consumption(ctx):
        nonlocal consumed
        while True:
            *_, strobe, pixels = await ctx.tick().sample(dut.load_consumes, dut.load_consumed)
            if strobe:
                consumed = pixels

    async def watch(ctx):
        while not done:
            await ctx.tick()
            run.cycles += 1
            if run.cycles > limit:
                raise TimeoutError(
                    f"no end after {limit} cycles; {len(run.dispatched)} tasks dispatched, last "
                    f"{run.dispatched[-1][0].opcode if run.dispatched else None}"
                )
            if ctx.get(dut.trace_valid):
                record = {name: ctx.get(getattr(dut, f"trace_{name}")) for name in TRACES if name not in ("valid", "words")}
                mask = record["mask"]
                record["words"] = {
                    i: [ctx.get(dut.trace_words[i][c]) for c in range(config.m)] for i in range(config.l) if mask >> i & 1
                }
                record["cycle"] = run.cycles
                run.writes.append(record)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(feed, background=True)
    sim.add_testbench(load, background=True)
    sim.add_testbench(consumption, background=True)
    sim.add_testbench(dispatch)
    sim.add_testbench(watch)
    sim.run()
    return run


def tensors(program: Program, artifact, run: CoreRun) -> dict[str, np.ndarray]:
    """Every layer's output, ``[C, P]``, as it was written; what was not written is -9999."""
    config, result = program.config, {}
    for tag, layer in enumerate(artifact.layers):
        channels, pixels = layer.output_shape[0], int(np.prod(layer.output_shape[1:], dtype=int))
        groups = -(-channels // config.m)
        values = np.full((groups * config.m, pixels), -9999)
        for record in run.writes:
            if record["tag"] != tag or record["dst"] in (Buffer.Z, Buffer.DIV):
                continue
            for i, word in record["words"].items():
                px, cg = record["px"] + i % (1 << record["split"]), record["cg"] + (i >> record["split"])
                assert px < pixels and cg < groups, (layer.name, px, cg)
                values[cg * config.m : (cg + 1) * config.m, px] = word
        values = values[:channels]
        if layer.name in program.orders:
            values = values[np.argsort(program.orders[layer.name])]
        result[layer.name] = values
    return result
