"""The activation buffers against a dictionary: every split, every skew, unaligned pixels, several channel groups at once."""

import random

import pytest
from amaranth.sim import Simulator

from hw.config import TOY, AcceleratorConfig
from hw.memory.act_buffer import gathered
from tests.support.placed_buffer import PlacedBuffer


def _word(config: AcceleratorConfig, px: int, cg: int, salt: int) -> list[int]:
    return [((px * 31 + cg * 17 + c * 7 + salt) % 256) - 128 for c in range(config.m)]


@pytest.mark.parametrize(
    ("m_l", "wide", "split"), [((4, 4), 1, 0), ((4, 4), 1, 1), ((4, 4), 4, 2), ((4, 8), 4, 0), ((4, 8), 4, 1), ((4, 8), 1, 3)]
)
def test_what_was_written_is_read(m_l, wide, split):
    size, lanes = m_l
    config = TOY.with_(name="test", l=lanes, m=size, n=size, t=size, s=size)
    dut = PlacedBuffer(config, rows=128, wide=wide)
    rng = random.Random(split)
    pixels, groups, base = 2 * lanes + 3, 2 * wide + 5, 5
    rows = -(-pixels // lanes)
    lp, lc = 1 << split, lanes >> split

    async def bench(ctx):
        for cg in range(0, groups, lc):
            for px in range(0, pixels, lp):
                ctx.set(dut.write.valid, 1)
                mask, words = 0, []
                for i in range(lanes):
                    p, g = px + i % lp, cg + i // lp
                    mask |= (p < pixels and g < groups) << i
                    words.append(_word(config, p, g, wide))
                ctx.set(
                    dut.write.payload,
                    {"mask": mask, "px": px, "cg": cg, "split": split, "base": base, "rows": rows, "words": words},
                )
                await ctx.tick()
        ctx.set(dut.write.valid, 0)
        await ctx.tick().repeat(dut.write_latency - 1)
        requests = []
        for _ in range(60):
            cg, cg2 = rng.randrange(groups), rng.randrange(groups)
            while wide > 1 and cg % wide == cg2 % wide:
                cg2 = rng.randrange(groups)
            requests.append((rng.randrange(-lanes, pixels + lanes), cg, cg2, wide > 1 and rng.randrange(2)))
        for n in range(len(requests) + dut.read_latency):
            if n < len(requests):
                px, cg, cg2, gather = requests[n]
                dut.ask(ctx, px=px, cg=cg, cg2=cg2, pick2=1 << cg2 % wide, gather=gather, base=base, rows=rows, skew=split)
            if n >= dut.read_latency:
                px, cg, cg2, gather = requests[n - dut.read_latency]
                for group, places in zip((cg, cg2) if wide > 1 else (cg,), gathered(wide), strict=False):
                    place = places[group % len(places)] if gather else group % wide
                    for lane in range(lanes):
                        if 0 <= px + lane < pixels:
                            got = dut.answer(ctx, place, lane)
                            assert got == _word(config, px + lane, group, wide), (px, lane, group)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("split", [0, 1, 2, 3])
def test_what_one_write_wrote_one_read_reads(split):
    config = TOY.with_(name="test", l=8)
    dut = PlacedBuffer(config, rows=64)
    lanes, lp = config.l, 1 << split
    pixels, groups, rows = 11, 9, 2

    async def bench(ctx):
        for cg in range(0, groups, lanes // lp):
            for px in range(0, pixels, lp):
                words = [_word(config, px + i % lp, cg + i // lp, 3) for i in range(lanes)]
                mask = sum((px + i % lp < pixels and cg + i // lp < groups) << i for i in range(lanes))
                ctx.set(dut.write.valid, 1)
                ctx.set(
                    dut.write.payload, {"mask": mask, "px": px, "cg": cg, "split": split, "base": 0, "rows": rows, "words": words}
                )
                await ctx.tick()
        ctx.set(dut.write.valid, 0)
        await ctx.tick().repeat(dut.write_latency - 1)
        for px, cg in ((0, 0), (lp, 1), (2, 3), (1, 5)):
            dut.ask(ctx, px=px, cg=cg, base=0, rows=rows, skew=split, spread=3 - split)
            await ctx.tick().repeat(dut.read_latency)
            for i in range(lanes):
                p, g = px + i % lp, cg + i // lp
                if p < pixels and g < groups:
                    assert dut.answer(ctx, 0, i) == _word(config, p, g, 3)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize(("m_l", "wide", "fold"), [((4, 4), 4, 1), ((4, 4), 4, 2), ((4, 8), 8, 1), ((4, 8), 8, 2)])
def test_folded_groups_are_written_over_all_sub_buffers_and_read_several_chunks_at_once(m_l, wide, fold):
    size, lanes = m_l
    config = TOY.with_(name="test", l=lanes, m=size, n=size, t=size, s=size)
    dut = PlacedBuffer(config, rows=64, wide=wide)
    rng = random.Random(fold)
    chunks, share, base = 1 << fold, wide >> fold, 3
    groups = rng.randint(1, share)
    pixels = 9 * lanes + 3
    every = lanes.bit_length() - 1

    async def bench(ctx):
        for cg in range(groups):
            for px in range(0, pixels, lanes):
                words = [_word(config, px + i, cg, wide) for i in range(lanes)]
                mask = sum((px + i < pixels) << i for i in range(lanes))
                ctx.set(dut.write.valid, 1)
                ctx.set(dut.write.payload, {
                    "mask": mask, "px": px, "cg": cg, "split": every, "base": base, "rows": 10, "fold": fold, "words": words,
                })
                await ctx.tick()
        ctx.set(dut.write.valid, 0)
        await ctx.tick().repeat(dut.write_latency - 1)
        requests = [*range(-lanes - 1, 2 * lanes), *(rng.randrange(-lanes * chunks, pixels) for _ in range(40))]
        checked = 0
        for n in range(len(requests) + dut.read_latency):
            if n < len(requests):
                dut.ask(ctx, px=requests[n], base=base, rows=10, skew=every, fold=fold)
            if n >= dut.read_latency:
                for chunk in range(chunks):
                    for group in range(groups):
                        for lane in range(lanes):
                            px = requests[n - dut.read_latency] + chunk * lanes + lane
                            if 0 <= px < pixels:
                                got = dut.answer(ctx, chunk * share + group, lane)
                                assert got == _word(config, px, group, wide), (px, chunk, group, lane)
                                checked += 1
            await ctx.tick()
        assert checked > 20 * lanes * chunks

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
