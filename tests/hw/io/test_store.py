"""Results reach memory in order whatever the bus does."""

import random

import pytest

from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.control.descriptor import Opcode, pack
from hw.io.store import Store
from hw.memory.output_buffer import beat_pixels
from tests.hw.axi.axi_memory import AxiMemory
from tests.hw.axi.harness import simulate


def value_at(pixel: int, group: int, channel: int) -> int:
    """What the pretended buffer holds."""
    return (pixel * 7919 + group * 104729 + channel * 1299709 + 12345) % 65536 - 32768


def task(pixels: int, groups: int) -> bytes:
    """The descriptor."""
    return pack({"opcode": Opcode.STORE, "px_end": pixels, "dst_cg_end": groups, "src_base": 11, "src_rows": 22, "src_skew": 1})


def buffer(dut: Store, config: AcceleratorConfig, latency: int, places: set):
    """A read port with a fixed latency that answers with :func:`value_at`, and with 0 for pixels that are not asked for."""
    read, pixels = dut.read, beat_pixels(config)

    async def testbench(ctx):
        line: list = [(0, 0, 0)] * latency
        while True:
            *_, px, cg, base, rows, skew, mask = await ctx.tick().sample(
                read.px, read.cg, read.base, read.rows, read.skew, read.mask)
            assert px % pixels == 0
            line.append((px, cg, mask))
            # What was asked ``latency`` edges ago is there after this edge.
            px, cg, mask = line[-latency]
            places.add((base, rows, skew))
            ctx.set(read.data, [
                [value_at(px + lane, cg, channel) if mask >> lane & 1 else 0 for channel in range(config.m)]
                for lane in range(pixels)
            ])

    return testbench


def run(config: AcceleratorConfig, latency: int, rate: float, tasks: list[tuple[int, int]]) -> tuple[AxiMemory, int]:
    dut = Store(config, latency)
    size = 1 << 15
    memory = AxiMemory(dut.axi, bytearray(size), seed=latency, rate=rate)
    address, places, cycles = 4096 - 2 * config.beat_bytes, set(), 0

    async def testbench(ctx):
        nonlocal cycles
        for pixels, groups in tasks:
            memory.memory[:] = bytes(size)
            blob = task(pixels, groups)
            ctx.set(dut.address, address)
            ctx.set(dut.unit.task.as_value(), int.from_bytes(blob, "little"))
            ctx.set(dut.unit.start, 1)
            await ctx.tick()
            ctx.set(dut.unit.start, 0)
            ctx.set(dut.unit.task.as_value(), 0)
            while ctx.get(dut.unit.busy):
                await ctx.tick()
                cycles += 1
            assert memory.idle
            expected = b"".join(
                (value_at(pixel, group, channel) if pixel < pixels else 0).to_bytes(2, "little", signed=True)
                for group in range(groups) for first in range(0, pixels, config.l)
                for pixel in range(first, first + config.l) for channel in range(config.m)
            )
            assert memory.memory[address:address + len(expected)] == expected
            assert not any(memory.memory[:address]) and not any(memory.memory[address + len(expected):])
            assert ctx.get(dut.error) == 0

    simulate(dut, testbench, background=[*memory.writing(), buffer(dut, config, latency, places)])
    assert places == {(0, 0, 0), (11, 22, 1)}
    return memory, cycles


@pytest.mark.parametrize("config", [TOY, ZCU102])
@pytest.mark.parametrize("latency", [1, 3, 6])
def test_rows_are_written_in_order(config, latency):
    memory, _ = run(config, latency, 0.6, [(1, 1), (config.l, 3), (2 * config.l + 1, 5), (1, 20)])
    assert memory.stalls["w"].count > 20
    assert memory.stalls["aw"].count > 2


def test_a_beat_a_cycle_when_the_bus_is_free():
    for config, groups in ((TOY, 100), (ZCU102, 100)):
        memory, cycles = run(config, 6, 0, [(1, groups)])
        beats = sum(length for _, length in memory.writes)
        assert beats == groups * 2 * config.l // config.n
        assert cycles < beats * 1.35 + 60


def test_errors_are_reported_and_a_cancelled_store_leaves_the_bus_clean():
    dut = Store(ZCU102, 3)
    memory = AxiMemory(dut.axi, bytearray(random.Random(1).randbytes(1 << 17)), bad=(4096,))

    async def testbench(ctx):
        blob = task(1, 400)
        ctx.set(dut.unit.task.as_value(), int.from_bytes(blob, "little"))
        ctx.set(dut.unit.start, 1)
        await ctx.tick()
        ctx.set(dut.unit.start, 0)
        while not ctx.get(dut.error):
            await ctx.tick()
        ctx.set(dut.cancel, 1)
        while ctx.get(dut.writing):
            await ctx.tick()
        assert memory.idle
        assert len(memory.writes) < 100

    simulate(dut, testbench, background=[*memory.writing(), buffer(dut, ZCU102, 3, set())])
