"""The pixel gearbox: bytes come out in order, two pairs a cycle."""

import random

import pytest

from hw.config import TOY, ZCU102
from hw.io.gearbox import PAIR_BYTES, PAIRS, PixelGearbox
from tests.hw.axi.harness import Stalls, send, simulate


def run(config, rate: float, beats: int) -> tuple[int, int, list, Stalls]:
    """Cycles from the first pairs to the last, cycles with one pair, refused beats, and the stalls of the receiver."""
    dut, blob = PixelGearbox(config), random.Random(1).randbytes(beats * config.beat_bytes)
    words = [int.from_bytes(blob[at:at + config.beat_bytes], "little") for at in range(0, len(blob), config.beat_bytes)]
    stalls, blocked = Stalls(2, rate), []
    cycles = singles = 0

    async def source(ctx):
        await send(ctx, dut.i, words, Stalls(3, rate), blocked)

    async def sink(ctx):
        nonlocal cycles, singles
        got, held = b"", None
        while len(blob) - len(got) >= PAIR_BYTES:
            ready = not stalls()
            ctx.set(dut.o.ready, ready)
            *_, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            assert held is None or (valid and payload == held)
            held = payload if valid and not ready else None
            cycles += bool(got)
            if valid and ready:
                count = PAIRS if payload.all else 1
                singles += count == 1
                got += b"".join(payload.pairs[index].to_bytes(PAIR_BYTES, "little") for index in range(count))
        assert blob.startswith(got)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        assert ctx.get(dut.o.valid) == 0

    simulate(dut, source, sink)
    return cycles, singles, blocked, stalls


@pytest.mark.parametrize("config", [TOY, ZCU102])
def test_bytes_stay_in_order_under_stalls(config):
    _, singles, blocked, stalls = run(config, 0.5, 200)
    assert singles > 5
    assert len(blocked) > 50
    assert stalls.count > 50


@pytest.mark.parametrize("config", [TOY, ZCU102])
def test_two_pairs_leave_in_every_cycle(config):
    beats = 60
    cycles, singles, *_ = run(config, 0, beats)
    assert singles <= 1
    assert cycles <= beats * config.beat_bytes // (PAIRS * PAIR_BYTES)
