"""The activation buffers against a dictionary: every split, every skew, unaligned pixels, several channel groups at once."""

import random

import pytest
from amaranth.sim import Simulator

from hw.config import TOY, AcceleratorConfig
from hw.memory.act_buffer import ActBuffer


def _word(config: AcceleratorConfig, px: int, cg: int, salt: int) -> list[int]:
    return [((px * 31 + cg * 17 + c * 7 + salt) % 256) - 128 for c in range(config.m)]


@pytest.mark.parametrize(("m_l", "wide", "split"), [((4, 4), 1, 0), ((4, 4), 1, 1), ((4, 4), 4, 2), ((4, 8), 4, 0), ((4, 8), 4, 1), ((4, 8), 1, 3)])
def test_what_was_written_is_read(m_l, wide, split):
    size, lanes = m_l
    config = TOY.with_(name="test", l=lanes, m=size, n=size, t=size, s=size)
    dut = ActBuffer(config, rows=128, wide=wide)
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
                ctx.set(dut.write.payload, {"mask": mask, "px": px, "cg": cg, "split": split, "base": base, "rows": rows, "words": words})
                await ctx.tick()
        ctx.set(dut.write.valid, 0)
        await ctx.tick().repeat(dut.write_latency - 1)
        requests = []
        for _ in range(60):
            cg, cg2 = rng.randrange(groups), rng.randrange(groups)
            while wide > 1 and cg % wide == cg2 % wide:
                cg2 = rng.randrange(groups)
            requests.append((rng.randrange(-lanes, pixels + lanes), cg, cg2))
        for n in range(len(requests) + dut.read_latency):
            if n < len(requests):
                px, cg, cg2 = requests[n]
                ctx.set(dut.read.valid, 1)
                for name, value in {"px": px, "cg": cg, "cg2": cg2, "pick2": 1 << cg2 % wide if wide > 1 else 0, "base": base, "rows": rows, "skew": split}.items():
                    ctx.set(getattr(dut.read, name), value)
            if n >= dut.read_latency:
                px, cg, cg2 = requests[n - dut.read_latency]
                for group in {cg, cg2} if wide > 1 else {cg}:
                    for lane in range(lanes):
                        if 0 <= px + lane < pixels:
                            got = [ctx.get(dut.read.data[group % wide][lane][c]) for c in range(config.m)]
                            assert got == _word(config, px + lane, group, wide), (px, lane, group)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
