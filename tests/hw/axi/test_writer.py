"""The linear writer against a memory with stalls and errors."""

import random

import pytest

from hw.axi.writer import LinearWriter
from hw.config import TOY, ZCU102
from tests.hw.axi.axi_memory import AxiMemory
from tests.hw.axi.harness import Stalls, send, simulate
from triovit.errors import InternalError


async def start(ctx, dut: LinearWriter, address: int) -> None:
    ctx.set(dut.address, address)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)


def beats_of(blob: bytes, width: int) -> list[dict[str, int]]:
    words = [int.from_bytes(blob[at:at + width], "little") for at in range(0, len(blob), width)]
    return [{"data": word, "last": index == len(words) - 1} for index, word in enumerate(words)]


@pytest.mark.parametrize("config", [TOY, ZCU102])
def test_memory_holds_what_was_sent_and_nothing_else(config):
    dut = LinearWriter(config)
    memory = AxiMemory(dut.axi, bytearray(1 << 15), seed=4)
    expected = bytearray(1 << 15)
    stalls, width, rng, blocked = Stalls(3), config.beat_bytes, random.Random(5), []

    async def testbench(ctx):
        for address, beats in ((0, 1), (width * 3, 200), (4096 - 2 * width, 5), (4096 - width, 1), (8192, 128)):
            blob = rng.randbytes(width * beats)
            expected[address:address + len(blob)] = blob
            assert ctx.get(dut.i.ready) == 0
            await start(ctx, dut, address)
            assert ctx.get(dut.busy)
            await send(ctx, dut.i, beats_of(blob, width), stalls, blocked)
            while ctx.get(dut.busy):
                await ctx.tick()
            assert memory.idle
            assert ctx.get(dut.error) == 0

    simulate(dut, testbench, background=memory.writing())
    assert memory.memory == expected
    assert stalls.count > 20
    assert blocked
    assert all(memory.stalls[name].count > 5 for name in ("aw", "w", "b"))
    assert max(length for _, length in memory.writes) == config.axi_burst


def test_error_is_reported_before_busy_falls():
    dut = LinearWriter(TOY)
    memory = AxiMemory(dut.axi, bytearray(1 << 15), bad=(16 * 39,))

    async def testbench(ctx):
        for beats, error in ((40, 1), (39, 0)):
            await start(ctx, dut, 0)
            await send(ctx, dut.i, beats_of(bytes(16 * beats), 16), Stalls(1))
            while ctx.get(dut.busy):
                await ctx.tick()
            assert ctx.get(dut.error) == error
            memory.bad = (16 * 39,)

    simulate(dut, testbench, background=memory.writing())


@pytest.mark.parametrize("sent", [0, 5, 16, 32, 33, 48, 64, 100])
def test_cancel_finishes_the_bursts_that_were_issued(sent):
    dut = LinearWriter(TOY)
    memory = AxiMemory(dut.axi, bytearray(1 << 15), seed=sent)
    memory.stalls["b"] = Stalls(sent, 0.9)

    async def testbench(ctx):
        await start(ctx, dut, 0)
        await send(ctx, dut.i, [{"data": 7, "last": 0}] * sent, Stalls(1))
        ctx.set(dut.cancel, 1)
        while ctx.get(dut.busy):
            await ctx.tick()
            assert ctx.get(dut.i.ready) == 0
        assert memory.idle
        ctx.set(dut.cancel, 0)
        blob = random.Random(sent).randbytes(16 * 20)
        await start(ctx, dut, 4096)
        await send(ctx, dut.i, beats_of(blob, 16), Stalls(1))
        while ctx.get(dut.busy):
            await ctx.tick()
        assert memory.memory[4096:4096 + len(blob)] == blob

    simulate(dut, testbench, background=memory.writing())


def test_fifo_must_hold_a_burst():
    with pytest.raises(InternalError, match="burst of 16"):
        LinearWriter(TOY, 8)
