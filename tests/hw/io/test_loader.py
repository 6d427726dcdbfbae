"""The loader against the unfolding written down in NumPy-free Python."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.control.descriptor import Buffer, Opcode, pack
from hw.io.loader import Loader
from tests.hw.axi.axi_memory import AxiMemory
from tests.hw.axi.harness import Stalls, simulate
from tests.support.tamper import constant, plus, tampered

ADDRESS = 4096 - 64
CHANNELS = 3
#: Two output pixels a write, where ``toy`` has a half and ``zcu102`` four.
HALF = ZCU102.with_(l=8)


def unfold(picture: bytes, height: int, width: int, pad: tuple[int, int, int]) -> list[list[int]]:
    """The 27 values of each output pixel."""
    def value(y: int, x: int, c: int) -> int:
        if not (0 <= y < height and 0 <= x < width):
            return pad[c]
        return picture[(y * width + x) * CHANNELS + c] - 128

    return [
        [value(2 * yo + ky - 1, 2 * xo + kx - 1, c) for kx in range(3) for ky in range(3) for c in range(CHANNELS)]
        for yo in range(-(-height // 2)) for xo in range(width // 2)
    ]


async def give(ctx, dut: Loader, height: int, width: int, pad: tuple[int, int, int], base: int, ring: int = 0) -> None:
    blob = pack({
        "opcode": Opcode.LOAD, "h_in": height, "w_in": width, "w_out": width // 2, "stride": 2, "dst": Buffer.D, "dst_base": base,
        "dst_rows": 77, "dst_ring": ring, "pad": sum((value & 0xFF) << 8 * c for c, value in enumerate(pad)),
    })
    ctx.set(dut.unit.task.as_value(), int.from_bytes(blob, "little"))
    ctx.set(dut.unit.start, 1)
    await ctx.tick()
    ctx.set(dut.unit.start, 0)
    ctx.set(dut.unit.task.as_value(), 0)
    assert ctx.get(dut.unit.busy)


async def collect(ctx, dut: Loader, config: AcceleratorConfig, stalls: Stalls, base: int) -> dict[tuple[int, int], list[int]]:
    """The words written until busy falls, by pixel and channel group."""
    written: dict[tuple[int, int], list[int]] = {}
    held = None
    while ctx.get(dut.unit.busy):
        ready = not stalls()
        ctx.set(dut.write.ready, ready)
        *_, valid, out = await ctx.tick().sample(dut.write.valid, dut.write.payload)
        if held is not None:
            assert valid and out == held
        held = out if valid and not ready else None
        if valid and ready:
            assert (out.split, out.base, out.rows) == (dut.split, base, 77)
            for slot in range(config.l):
                if out.mask >> slot & 1:
                    key = out.px + slot % (1 << dut.split), out.cg + (slot >> dut.split)
                    assert key not in written
                    written[key] = [out.words[slot][channel] for channel in range(config.m)]
    return written


@pytest.mark.parametrize("config", [TOY, ZCU102, HALF, ZCU102.with_(l=32), TOY.with_(l=8)])
@pytest.mark.parametrize("stalled", ["writes", "bus", "both"])
def test_pictures_are_unfolded(config, stalled):
    rng = random.Random(5)
    dut = Loader(config)
    memory = AxiMemory(dut.axi, bytearray(rng.randbytes(1 << 15)), rate=0.02 if stalled == "writes" else 0.9)
    stalls = Stalls(6, 0.02 if stalled == "bus" else 0.5)

    async def testbench(ctx):
        for height, width, base in ((8, 8, 0), (7, 12, 100), (1, 4, 5), (2, 64, 3), (33, 6, 0), (5, 10, 1), (24, 38, 9)):
            pad = tuple(rng.randint(-128, 127) for _ in range(CHANNELS))
            picture = bytes(memory.memory[ADDRESS:ADDRESS + height * width * CHANNELS])
            ctx.set(dut.address, ADDRESS)
            await give(ctx, dut, height, width, pad, base)
            written = await collect(ctx, dut, config, stalls, base)
            assert ctx.get(dut.reading) == 0
            assert written == expected(dut, config, picture, height, width, pad)

    simulate(dut, testbench, background=memory.reading())
    assert stalls.count > (0 if stalled == "bus" else 50)
    assert memory.stalls["r"].count > (0 if stalled == "writes" else 50)


def expected(dut: Loader, config: AcceleratorConfig, picture: bytes, height: int, width: int, pad: tuple[int, int, int]):
    """The words of each pixel's channel groups."""
    words = {}
    for pixel, values in enumerate(unfold(picture, height, width, pad)):
        padded = values + [0] * (dut.groups * config.m - len(values))
        for group in range(dut.groups):
            words[pixel, group] = padded[group * config.m:(group + 1) * config.m]
    return words


def cycles_of(config: AcceleratorConfig, height: int, width: int) -> int:
    dut = Loader(config)
    memory = AxiMemory(dut.axi, bytearray(1 << 17), rate=0)
    cycles = 0

    async def testbench(ctx):
        nonlocal cycles
        ctx.set(dut.write.ready, 1)
        ctx.set(dut.address, ADDRESS)
        await give(ctx, dut, height, width, (0, 0, 0), 0)
        while ctx.get(dut.unit.busy):
            await ctx.tick()
            cycles += 1

    simulate(dut, testbench, background=memory.reading())
    return cycles


@pytest.mark.parametrize("config", [TOY, ZCU102, HALF])
def test_a_picture_takes_a_cycle_a_write(config):
    height, width = 32, 64
    writes = height // 2 * Loader.writes(config, width // 2)
    # Before the first write half of two rows' chunks, or so many beats of the memory, and its answer.
    first = max(2 * width // (4 * Loader.pixels(config)), 6 * width // config.beat_bytes)
    assert writes <= cycles_of(config, height, width) <= writes + first + 24


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([TOY, ZCU102, HALF]), st.integers(1, 12), st.integers(2, 32), st.sampled_from([0.02, 0.6]),
    st.sampled_from([0.02, 0.6]), st.integers(0, 1 << 20),
)
def test_pictures_of_any_size(config, height, pairs, bus, writes, seed):
    rng, width = random.Random(seed), 2 * pairs
    dut = Loader(config)
    memory = AxiMemory(dut.axi, bytearray(rng.randbytes(1 << 13)), seed=seed, rate=bus)
    pad = tuple(rng.randint(-128, 127) for _ in range(CHANNELS))

    async def testbench(ctx):
        ctx.set(dut.address, ADDRESS)
        await give(ctx, dut, height, width, pad, 3)
        written = await collect(ctx, dut, config, Stalls(seed, writes), 3)
        picture = bytes(memory.memory[ADDRESS:ADDRESS + height * width * CHANNELS])
        assert written == expected(dut, config, picture, height, width, pad)

    simulate(dut, testbench, background=memory.reading())


def overwritten(unit: type[Loader], config: AcceleratorConfig, ring: int, seed: int, rate: float) -> tuple[int, int]:
    """Writes of a loader over pixels of a ring that are still to be read, in two pictures, and how far it gets ahead."""
    dut, rng, stalls, capacity = unit(config), random.Random(seed), Stalls(seed, rate), config.l << ring
    memory = AxiMemory(dut.axi, bytearray(1 << 14), rate=rate)
    early = ahead = 0

    async def testbench(ctx):
        nonlocal early, ahead
        ctx.set(dut.address, ADDRESS)
        for height, width in ((16, 20), (9, 34)):
            pixels, consumed, now = -(-height // 2) * width // 2, 0, 0
            # What was read of the picture before counts no more.
            await give(ctx, dut, height, width, (0, 0, 0), 0, ring)
            ctx.set(dut.consumes, 0)
            while ctx.get(dut.unit.busy):
                now += 1
                ctx.set(dut.write.ready, not stalls())
                # The reader comes late; it takes up to l pixels at once, of those that it may read.
                known, group = consumed, min(consumed + config.l, pixels)
                if consumed < pixels and ctx.get(dut.progress) >= group and now > 400 and rng.random() < 0.2:
                    consumed = group
                ctx.set(dut.consumes, consumed != known)
                ctx.set(dut.consumed, consumed)
                *_, valid, ready, out = await ctx.tick().sample(dut.write.valid, dut.write.ready, dut.write.payload)
                if valid and ready:
                    assert out.ring == ring
                    last = out.px + max(slot % dut.pixels(config) for slot in range(config.l) if out.mask >> slot & 1)
                    early += last >= known + capacity
                    ahead = max(ahead, last + 1 - known)
            ctx.set(dut.consumes, 1)
            await ctx.tick().repeat(2)

    simulate(dut, testbench, background=memory.reading())
    return early, ahead


@pytest.mark.parametrize("config", [TOY, ZCU102, HALF])
@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_a_ring_holds_what_is_still_to_be_read(config, rate):
    for ring in (1, 2):
        early, ahead = overwritten(Loader, config, ring, 7, rate)
        assert early == 0
        # All of the ring is used, but for what a write more would need.
        assert ahead > (config.l << ring) - Loader.pixels(config)


@pytest.mark.parametrize("fault", [{"consumed": plus(8)}, {"consumes": constant(1), "consumed": constant(-1)}])
def test_what_is_overwritten_too_early_is_found(fault):
    assert overwritten(tampered(Loader, **fault), TOY, 1, 7, 0.0)[0] > 0


def test_sizes_of_a_write():
    assert [(Loader.pixels(config), Loader.parts(config), Loader.writes(config, 30)) for config in (TOY, ZCU102, HALF)] == [
        (1, 2, 60), (4, 1, 8), (2, 1, 15),
    ]
    # More slots than channel groups and beats can fill.
    assert [Loader.pixels(config) for config in (ZCU102.with_(l=32), TOY.with_(l=8), TOY.with_(l=16))] == [4, 1, 1]
    assert [Loader.parts(config) for config in (ZCU102.with_(l=32), TOY.with_(l=8), TOY.with_(l=16))] == [1, 1, 1]


@pytest.mark.parametrize("latency", [1, 5])
def test_busy_falls_when_the_last_write_can_be_read(latency):
    dut = Loader(TOY, latency)
    memory = AxiMemory(dut.axi, bytearray(1 << 15), rate=0)
    now = last_write = 0

    async def testbench(ctx):
        nonlocal now, last_write
        ctx.set(dut.write.ready, 1)
        ctx.set(dut.address, ADDRESS)
        await give(ctx, dut, 4, 4, (0, 0, 0), 0)
        while ctx.get(dut.unit.busy):
            *_, valid = await ctx.tick().sample(dut.write.valid)
            now += 1
            if valid:
                last_write = now - 1

    simulate(dut, testbench, background=memory.reading())
    assert latency <= now - last_write <= latency + 2


@pytest.mark.parametrize("latency", [1, 5])
@pytest.mark.parametrize("config", [TOY, ZCU102])
def test_progress_counts_what_can_be_read(config, latency):
    dut, stalls = Loader(config, latency), Stalls(3, 0.5)
    memory = AxiMemory(dut.axi, bytearray(1 << 15), rate=0.5)

    async def testbench(ctx):
        ctx.set(dut.address, ADDRESS)
        for height, width in ((6, 8), (4, 4)):
            await give(ctx, dut, height, width, (0, 0, 0), 0)
            groups: dict[int, int] = {}
            readable: list[int] = []
            while ctx.get(dut.unit.busy):
                ctx.set(dut.write.ready, not stalls())
                *_, valid, ready, out, progress = await ctx.tick().sample(
                    dut.write.valid, dut.write.ready, dut.write.payload, dut.progress
                )
                # What was written ``latency`` cycles ago can be read now.
                assert progress <= (readable[-latency] if len(readable) >= latency else 0)
                if valid and ready:
                    for slot in range(config.l):
                        pixel = out.px + slot % dut.pixels(config)
                        groups[pixel] = groups.get(pixel, 0) + (out.mask >> slot & 1)
                readable.append(sum(count == dut.groups for count in groups.values()))
                if len(readable) > latency + 2:
                    assert progress >= readable[-latency - 3]
            assert ctx.get(dut.progress) == height * width // 4
            await ctx.tick().repeat(3)
            assert ctx.get(dut.progress) == height * width // 4

    simulate(dut, testbench, background=memory.reading())
    assert stalls.count > 20


def test_starved_while_the_memory_gives_nothing():
    starved = {}
    for rate in (0.0, 0.9):
        dut = Loader(TOY)
        memory = AxiMemory(dut.axi, bytearray(1 << 15), rate=rate)

        async def testbench(ctx, dut=dut, rate=rate):
            ctx.set(dut.address, ADDRESS)
            ctx.set(dut.write.ready, 1)
            await give(ctx, dut, 32, 32, (0, 0, 0), 0)
            starved[rate] = waiting = 0
            while ctx.get(dut.unit.busy):
                *_, hungry, beat = await ctx.tick().sample(dut.starved, dut.beat)
                assert not (hungry and beat)
                starved[rate] += hungry
                waiting += not hungry
            # Neither before the picture is asked for nor when all of it is there.
            assert waiting > 192 and not ctx.get(dut.starved)

        simulate(dut, testbench, background=memory.reading())
    assert starved[0.9] > starved[0.0] + 30


def test_errors_and_cancel_reach_the_reader():
    dut = Loader(TOY)
    memory = AxiMemory(dut.axi, bytearray(1 << 15), bad=(ADDRESS + 64,))

    async def testbench(ctx):
        ctx.set(dut.write.ready, 1)
        ctx.set(dut.address, ADDRESS)
        await give(ctx, dut, 64, 64, (0, 0, 0), 0)
        while not ctx.get(dut.error):
            await ctx.tick()
        ctx.set(dut.cancel, 1)
        await ctx.tick()
        while ctx.get(dut.reading):
            await ctx.tick()
        assert memory.idle

    simulate(dut, testbench, background=memory.reading())
