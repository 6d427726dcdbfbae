"""The linear reader against a memory with latency, stalls and errors."""

import random

import pytest

from hw.axi.linear_reader import LinearReader
from hw.config import TOY, ZCU102
from tests.hw.axi.axi_memory import AxiMemory
from tests.hw.axi.harness import Stalls, receive, simulate
from triovit.errors import InternalError


def contents(seed: int, size: int = 1 << 15) -> bytearray:
    return bytearray(random.Random(seed).randbytes(size))


async def start(ctx, dut: LinearReader, address: int, beats: int) -> None:
    ctx.set(dut.address, address)
    ctx.set(dut.beats, beats)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)


@pytest.mark.parametrize("config", [TOY, ZCU102])
@pytest.mark.parametrize("depth", [16, 64])
def test_reads_what_the_memory_holds(config, depth):
    dut = LinearReader(config, depth)
    memory = AxiMemory(dut.axi, contents(1), seed=depth)
    stalls, width = Stalls(3), config.beat_bytes

    async def testbench(ctx):
        for address, beats in ((0, 1), (width * 3, 200), (4096 - 2 * width, 5), (4096 - width, 1), (8192, 128), (width, 0)):
            await start(ctx, dut, address, beats)
            assert ctx.get(dut.busy) == (beats > 0)
            assert ctx.get(dut.error) == 0
            got = await receive(ctx, dut.o, beats, stalls)
            assert b"".join(word.to_bytes(width, "little") for word in got) == memory.memory[address:address + beats * width]
            assert ctx.get(dut.busy) == 0
            assert ctx.get(dut.error) == 0

    simulate(dut, testbench, background=memory.reading())
    assert stalls.count > 20
    assert memory.stalls["r"].count > 20
    assert memory.stalls["ar"].count > 5
    assert memory.refused == 0, "the reader asked for more than it has room for"
    assert max(length for _, length in memory.reads) == config.axi_burst
    assert memory.most_outstanding >= depth // config.axi_burst


def test_streams_at_a_beat_a_cycle():
    dut = LinearReader(TOY)
    memory = AxiMemory(dut.axi, contents(1), rate=0, latency=8)
    cycles = 0

    async def testbench(ctx):
        nonlocal cycles
        await start(ctx, dut, 0, 512)
        ctx.set(dut.o.ready, 1)
        while ctx.get(dut.busy):
            await ctx.tick()
            cycles += 1

    simulate(dut, testbench, background=memory.reading())
    assert memory.beats_read == 512
    assert cycles <= 512 + 16


def test_error_is_kept_until_the_next_start():
    dut = LinearReader(TOY)
    memory = AxiMemory(dut.axi, contents(2), bad=(20 * TOY.beat_bytes,))

    async def testbench(ctx):
        for beats, error in ((30, 1), (20, 0)):
            await start(ctx, dut, 0, beats)
            await receive(ctx, dut.o, beats, Stalls(4))
            await ctx.tick().repeat(3)
            assert ctx.get(dut.error) == error

    simulate(dut, testbench, background=memory.reading())


@pytest.mark.parametrize("taken", [0, 1, 17, 60])
def test_cancel_leaves_the_bus_clean(taken):
    dut = LinearReader(TOY)
    memory = AxiMemory(dut.axi, contents(3), seed=taken, latency=12)

    async def testbench(ctx):
        await start(ctx, dut, 64, 500)
        await receive(ctx, dut.o, taken, Stalls(4))
        ctx.set(dut.cancel, 1)
        while True:
            *_, busy, valid = await ctx.tick().sample(dut.busy, dut.o.valid)
            assert not valid
            if not busy:
                break
        assert memory.idle
        await start(ctx, dut, 0, 5)
        assert not ctx.get(dut.busy)
        ctx.set(dut.cancel, 0)
        await start(ctx, dut, 160, 40)
        got = await receive(ctx, dut.o, 40, Stalls(5))
        assert b"".join(word.to_bytes(16, "little") for word in got) == memory.memory[160:160 + 640]

    simulate(dut, testbench, background=memory.reading())
    assert memory.beats_read < 500


def test_fifo_must_hold_a_burst():
    with pytest.raises(InternalError, match="burst of 16"):
        LinearReader(TOY, 8)
