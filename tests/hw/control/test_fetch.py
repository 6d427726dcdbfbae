"""The descriptor fetch: descriptors come out as they were packed."""

import random

import pytest
from amaranth.hdl import Value

from hw.config import TOY, ZCU102
from hw.control.descriptor import SIZE
from hw.control.fetch import DescriptorFetch
from tests.hw.axi.axi_memory import AxiMemory
from tests.hw.axi.harness import Stalls, simulate


async def take(ctx, dut: DescriptorFetch, count: int, stalls: Stalls) -> list[bytes]:
    """Descriptors as bytes."""
    got: list[bytes] = []
    while len(got) < count:
        ready = not stalls()
        ctx.set(dut.o.ready, ready)
        *_, valid, payload = await ctx.tick().sample(dut.o.valid, Value.cast(dut.o.payload))
        if valid and ready:
            got.append(payload.to_bytes(SIZE, "little"))
    ctx.set(dut.o.ready, 0)
    return got


async def start(ctx, dut: DescriptorFetch, address: int, count: int) -> None:
    ctx.set(dut.address, address)
    ctx.set(dut.count, count)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)


@pytest.mark.parametrize("config", [TOY, ZCU102])
def test_descriptors_come_in_order(config):
    dut = DescriptorFetch(config)
    memory = AxiMemory(dut.axi, bytearray(random.Random(1).randbytes(1 << 15)))
    stalls = Stalls(2)

    async def testbench(ctx):
        for address, count in ((0, 1), (4096 - SIZE, 40), (128, 3)):
            await start(ctx, dut, address, count)
            got = await take(ctx, dut, count, stalls)
            assert b"".join(got) == memory.memory[address:address + SIZE * count]
            assert ctx.get(dut.busy) == 0

    simulate(dut, testbench, background=memory.reading())
    assert stalls.count > 10
    assert memory.stalls["r"].count > 10


def test_reads_two_bursts_ahead_and_cancel_forgets_them():
    dut = DescriptorFetch(TOY)
    memory = AxiMemory(dut.axi, bytearray(random.Random(1).randbytes(1 << 15)))

    async def testbench(ctx):
        await start(ctx, dut, 0, 100)
        await take(ctx, dut, 2, Stalls(1))
        for _ in range(200):
            await ctx.tick()
        # Two descriptors were taken, the third one is collected.
        assert 2 * TOY.axi_burst <= memory.beats_read <= 3 * TOY.descriptor_beats + 2 * TOY.axi_burst
        ctx.set(dut.cancel, 1)
        await ctx.tick()
        while ctx.get(dut.busy):
            await ctx.tick()
        assert memory.idle
        ctx.set(dut.cancel, 0)
        await start(ctx, dut, 1024, 3)
        assert b"".join(await take(ctx, dut, 3, Stalls(1))) == memory.memory[1024:1024 + 3 * SIZE]

    simulate(dut, testbench, background=memory.reading())
