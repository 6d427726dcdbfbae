"""Rings of rows in the activation buffers against a dictionary: a window of pixels moves on, writes and reads cross the end."""

import random

import pytest
from amaranth.sim import Simulator

from hw.config import TOY
from tests.support.placed_buffer import PlacedBuffer


def _word(size: int, px: int, cg: int) -> list[int]:
    return [((px * 31 + cg * 17 + c * 7) % 256) - 128 for c in range(size)]


@pytest.mark.parametrize(
    ("m_l", "wide", "split", "fold", "ring"),
    [
        ((4, 4), 1, 2, 0, 1),
        ((4, 8), 1, 0, 0, 2),
        ((4, 8), 1, 2, 0, 3),
        ((4, 8), 4, 1, 0, 2),
        ((4, 8), 8, 3, 0, 1),
        ((4, 4), 4, 2, 1, 2),
        ((4, 8), 8, 3, 2, 2),
        ((4, 8), 8, 3, 2, 4),
    ],
)
def test_a_ring_holds_the_last_pixels_written(m_l, wide, split, fold, ring):
    size, lanes = m_l
    config = TOY.with_(name="test", l=lanes, m=size, n=size, t=size, s=size)
    dut = PlacedBuffer(config, rows=128, wide=wide)
    rng = random.Random(ring)
    lp, lc, chunks = 1 << split, lanes >> split, 1 << fold
    groups = wide >> fold if fold else 2 * wide + 1
    rows, base, capacity = 1 << ring, 5, lanes << ring
    end = 12 * capacity + 3
    written: dict[tuple[int, int], list[int]] = {}
    crossed = 0

    async def write(ctx, px, count):
        for cg in range(0, groups, lc):
            words, mask = [], 0
            for i in range(lanes):
                p, g = px + i % lp, cg + i // lp
                here = i % lp < count and g < groups
                mask |= here << i
                words.append(_word(size, p, g))
                if here:
                    written[p % capacity, g] = words[-1]
            ctx.set(dut.write.valid, 1)
            ctx.set(dut.write.payload, {
                "mask": mask, "px": px, "cg": cg, "split": split, "base": base, "rows": rows, "fold": fold, "ring": ring,
                "words": words,
            })
            await ctx.tick()
        ctx.set(dut.write.valid, 0)

    async def check(ctx, px, cg):
        nonlocal crossed
        dut.ask(ctx, px=px, cg=cg, base=base, rows=rows, skew=split, fold=fold, ring=ring)
        await ctx.tick().repeat(dut.read_latency)
        for chunk in range(chunks):
            for lane in range(lanes):
                group = cg if not fold else cg % (wide >> fold)
                p = px + chunk * lanes + lane
                if max(0, px) <= p < end and (p % capacity, group) in written:
                    index = chunk * (wide >> fold) + group if fold else group % wide
                    assert dut.answer(ctx, index, lane) == written[p % capacity, group], (px, lane, group)
                    crossed += p // capacity != max(0, px) // capacity

    async def bench(ctx):
        px = 0
        while px < end:
            # Rows of a map end anywhere, and the next band of pixels begins there.
            count = min(lp, rng.randint(1, lp) if rng.random() < 0.3 else lp, end - px)
            await write(ctx, px, count)
            px += count
            if px >= capacity:
                await ctx.tick().repeat(dut.write_latency - 1)
                first = px - capacity
                await check(ctx, rng.randint(first, px - 1), rng.randrange(groups))

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert crossed > 5
