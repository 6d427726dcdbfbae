"""The pixel gearbox: pairs come out in order, in chunks that end with a row, one a cycle."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.io.gearbox import PAIR_BYTES, PixelGearbox
from hw.io.loader import Loader
from tests.hw.axi.harness import Stalls, send, simulate

CONFIGS = (TOY, ZCU102, ZCU102.with_(l=8))


def run(config: AcceleratorConfig, rate: float, rows: int, row_pairs: int) -> tuple[int, list, Stalls]:
    """Cycles from the first chunk to the last, refused beats, and the stalls of the receiver; rows of ``row_pairs`` pairs."""
    whole = 2 * Loader.pixels(config)
    dut, pairs = PixelGearbox(config, whole), rows * row_pairs
    beats = -(-pairs * PAIR_BYTES // config.beat_bytes)
    blob = random.Random(1).randbytes(beats * config.beat_bytes)
    words = [int.from_bytes(blob[at:at + config.beat_bytes], "little") for at in range(0, len(blob), config.beat_bytes)]
    stalls, blocked = Stalls(2, rate), []
    cycles = 0

    async def source(ctx):
        await send(ctx, dut.i, words, Stalls(3, rate), blocked)
        ctx.set(dut.ended, 1)

    async def sink(ctx):
        nonlocal cycles
        got, held = b"", None
        for _ in range(rows):
            left = row_pairs
            while left:
                count = min(whole, left)
                ready = not stalls()
                ctx.set(dut.count, count)
                ctx.set(dut.o.ready, ready)
                *_, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                taken = [payload[index] for index in range(count)] if valid else None
                assert held is None or taken == held
                held = taken if valid and not ready else None
                cycles += bool(got)
                if valid and ready:
                    got += b"".join(pair.to_bytes(PAIR_BYTES, "little") for pair in taken)
                    left -= count
        assert got == blob[:pairs * PAIR_BYTES]
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        assert ctx.get(dut.o.valid) == 0

    simulate(dut, source, sink)
    return cycles, blocked, stalls


@pytest.mark.parametrize("config", CONFIGS)
def test_pairs_stay_in_order_under_stalls(config):
    _, blocked, stalls = run(config, 0.5, 11, 301 if config is ZCU102 else 75)
    assert len(blocked) > 50
    assert stalls.count > 50


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(CONFIGS), st.integers(1, 9), st.integers(2, 40), st.sampled_from([0, 0.4]))
def test_rows_of_any_length_begin_a_chunk(config, rows, row_pairs, rate):
    cycles, *_ = run(config, rate, rows, row_pairs)
    if not rate:
        # The sender takes no pause; its last beat is known to be the last one two cycles later.
        assert cycles <= rows * -(-row_pairs // (2 * Loader.pixels(config))) + 2


@pytest.mark.parametrize("config", CONFIGS)
def test_less_than_a_chunk_waits_for_more_or_for_the_end(config):
    whole = 2 * Loader.pixels(config)
    dut = PixelGearbox(config, whole)

    async def testbench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.count, whole)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, (1 << 8 * config.beat_bytes) - 1)
        taken = 0
        while True:
            # A beat that is all taken, and what is left of it.
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            if not ctx.get(dut.o.valid):
                break
            taken += 1
        assert taken == config.beat_bytes // (whole * PAIR_BYTES) - 1
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.o.valid)
        ctx.set(dut.ended, 1)
        left = config.beat_bytes % (whole * PAIR_BYTES)
        assert ctx.get(dut.o.valid) and ctx.get(dut.o.payload.as_value()) & (1 << 8 * left) - 1 == (1 << 8 * left) - 1
        await ctx.tick()
        assert not ctx.get(dut.o.valid)

    simulate(dut, testbench)
