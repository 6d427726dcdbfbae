"""The looped reader: parts in order, the first one again and again, and what the pause between them costs."""

import pytest

from hw.axi.looped_reader import LoopedReader
from hw.config import TOY, ZCU102
from tests.hw.axi.axi_memory import AxiMemory
from tests.hw.axi.harness import Stalls, receive, simulate
from tests.hw.axi.test_linear_reader import contents


async def start(ctx, dut: LoopedReader, address: int, beats: int, repeated: int, passes: int) -> None:
    for name, value in (("address", address), ("beats", beats), ("repeated", repeated), ("passes", passes), ("start", 1)):
        ctx.set(getattr(dut, name), value)
    await ctx.tick()
    ctx.set(dut.start, 0)


def parts(memory: bytes, address: int, beats: int, repeated: int, passes: int, width: int) -> bytes:
    middle, end = address + repeated * width, address + beats * width
    return memory[address:middle] * max(1, passes) + memory[middle:end]


@pytest.mark.parametrize("config", [TOY, ZCU102])
def test_reads_the_first_part_as_often_as_told(config):
    dut = LoopedReader(config, 32)
    memory, stalls, width = AxiMemory(dut.axi, contents(1), seed=5), Stalls(3), config.beat_bytes

    async def testbench(ctx):
        for address, beats, repeated, passes in (
            (3 * width, 70, 0, 0), (3 * width, 70, 0, 9), (0, 70, 40, 0), (width, 70, 40, 1),
            (3 * width, 70, 41, 2), (4096 - 2 * width, 20, 1, 5), (0, 33, 33, 3), (8192, 5, 4, 16),
        ):
            await start(ctx, dut, address, beats, repeated, passes)
            assert ctx.get(dut.busy) == 1
            expected = parts(bytes(memory.memory), address, beats, repeated, passes, width)
            got = await receive(ctx, dut.o, len(expected) // width, stalls)
            assert b"".join(word.to_bytes(width, "little") for word in got) == expected
            # A last part of no beats takes a cycle to find out.
            await ctx.tick().repeat(2)
            assert ctx.get(dut.busy) == 0 and ctx.get(dut.o.valid) == 0 and ctx.get(dut.error) == 0

    simulate(dut, testbench, background=memory.reading())
    assert stalls.count > 20 and memory.stalls["r"].count > 20 and memory.stalls["ar"].count > 5


@pytest.mark.parametrize("latency", [4, 30])
def test_a_pause_costs_the_latency_and_its_own_cycles(latency):
    dut = LoopedReader(TOY, 64)
    memory = AxiMemory(dut.axi, contents(1), rate=0, latency=latency)
    valid: list[int] = []

    async def testbench(ctx):
        await start(ctx, dut, 0, 30, 20, 3)
        ctx.set(dut.o.ready, 1)
        while ctx.get(dut.busy):
            valid.append(ctx.get(dut.o.valid))
            await ctx.tick()

    simulate(dut, testbench, background=memory.reading())
    gaps = [len(gap) for gap in "".join(map(str, valid)).strip("0").split("1") if gap]
    assert sum(valid) == 70 and len(gaps) == 3
    assert gaps == [latency + LoopedReader.pause] * 3


def test_cancel_forgets_the_parts_to_come():
    dut = LoopedReader(TOY, 32)
    memory = AxiMemory(dut.axi, contents(2), seed=2)

    async def testbench(ctx):
        await start(ctx, dut, 0, 50, 40, 200)
        await receive(ctx, dut.o, 60, Stalls(1))
        ctx.set(dut.cancel, 1)
        while ctx.get(dut.busy):
            await ctx.tick()
        ctx.set(dut.cancel, 0)
        await ctx.tick().repeat(20)
        assert ctx.get(dut.busy) == 0 and ctx.get(dut.o.valid) == 0
        await start(ctx, dut, 64, 3, 0, 0)
        got = await receive(ctx, dut.o, 3, Stalls(2))
        assert b"".join(word.to_bytes(TOY.beat_bytes, "little") for word in got) == memory.memory[64:64 + 3 * TOY.beat_bytes]

    simulate(dut, testbench, background=memory.reading())
    assert memory.beats_read < 200


def test_an_error_of_any_part_is_told():
    dut = LoopedReader(TOY, 32)
    memory = AxiMemory(dut.axi, contents(2), bad=(45 * TOY.beat_bytes,))

    async def testbench(ctx):
        await start(ctx, dut, 0, 50, 40, 2)
        await receive(ctx, dut.o, 80, Stalls(4))
        assert ctx.get(dut.error) == 0
        await receive(ctx, dut.o, 10, Stalls(4))
        assert ctx.get(dut.error) == 1

    simulate(dut, testbench, background=memory.reading())
