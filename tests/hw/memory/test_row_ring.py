"""The row ring against a list, with stalls at both ends."""

import random

import pytest
from amaranth.hdl import Value
from amaranth.lib import data

from hw.interfaces import PARAM
from hw.memory.row_ring import RowRing
from tests.hw.axi.harness import simulate
from tests.support.ring_words import WORD, written_and_read
from triovit.errors import InternalError


def run(banks: int, bits: int, depth: int, rows: int, seed: int) -> None:
    rng = random.Random(seed)
    dut = RowRing(banks, bits, depth)
    expected: list[list[int]] = []
    seen = {"full": 0, "writer_idle": 0, "empty": 0, "reads": 0}

    async def writer(ctx):
        for _ in range(rows):
            row = [0] * banks
            order = list(range(banks))
            rng.shuffle(order)
            # The banks of a row arrive in groups, as pixel slots share a word.
            groups = [order[::rng.randint(1, banks)]]
            groups += [[bank] for bank in order if bank not in groups[0]]
            for index, group in enumerate(groups):
                while rng.random() < 0.3:
                    seen["writer_idle"] += 1
                    ctx.set(dut.i.valid, 0)
                    await ctx.tick()
                word = rng.getrandbits(bits)
                for bank in group:
                    row[bank] = word
                ctx.set(dut.i.valid, 1)
                mask = sum(1 << bank for bank in group)
                ctx.set(dut.i.payload, {"data": word, "banks": mask, "last": index == len(groups) - 1})
                while True:
                    *_, ready = await ctx.tick().sample(dut.i.ready)
                    if ready:
                        break
                    seen["full"] += 1
            expected.append(row)
            ctx.set(dut.i.valid, 0)

    async def reader(ctx):
        base, pending = 0, []
        slow = True
        while base < rows:
            if rng.random() < 0.02:
                slow = not slow
            ctx.set(dut.en, 0)
            ctx.set(dut.free, 0)
            filled = ctx.get(dut.filled)
            assert filled <= min(depth, len(expected) - base)
            seen["empty"] += filled == 0
            asked = None
            if filled and rng.random() < (0.2 if slow else 0.9):
                offset = rng.randrange(filled)
                ctx.set(dut.en, 1)
                ctx.set(dut.offset, offset)
                asked = expected[base + offset]
            if filled and rng.random() < (0.02 if slow else 0.6):
                count = rng.randint(1, filled)
                ctx.set(dut.free, count)
                base += count
            pending.append(asked)
            await ctx.tick()
            if len(pending) == dut.latency:
                row = pending.pop(0)
                if row is not None:
                    got = ctx.get(Value.cast(dut.row))
                    assert [got >> bits * bank & ((1 << bits) - 1) for bank in range(banks)] == row
                    seen["reads"] += 1

    simulate(dut, writer, reader)
    assert all(count > 5 for count in seen.values()), seen


@pytest.mark.parametrize(("banks", "bits", "depth", "rows"), [(4, 8, 8, 300), (2, 128, 4, 200), (1, 5, 2, 100), (3, 7, 16, 300)])
def test_row_ring_matches_a_list(banks, bits, depth, rows):
    run(banks, bits, depth, rows, seed=banks)


def test_clear_forgets_everything_and_the_ring_works_on():
    dut = RowRing(2, 8, 4)

    async def put(ctx, value, banks, last):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, {"data": value, "banks": banks, "last": last})
        await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def testbench(ctx):
        for value in range(4):
            await put(ctx, value, 3, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.filled) == 4
        assert ctx.get(dut.i.ready) == 0
        ctx.set(dut.free, 2)
        await ctx.tick()
        ctx.set(dut.free, 0)
        assert ctx.get(dut.i.ready) == 1
        await put(ctx, 9, 1, 0)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.filled) == 0
        await put(ctx, 0x55, 1, 0)
        await put(ctx, 0x66, 2, 1)
        await ctx.tick()
        assert ctx.get(dut.filled) == 1
        ctx.set(dut.en, 1)
        await ctx.tick()
        ctx.set(dut.en, 0)
        await ctx.tick()
        for _ in range(3):
            assert [ctx.get(dut.row[0]), ctx.get(dut.row[1])] == [0x55, 0x66]
            await ctx.tick()

    simulate(dut, testbench)


def test_structured_words_keep_their_fields():
    assert written_and_read(RowRing(2, data.ArrayLayout(PARAM, 4), 2)) == WORD


def test_depth_is_a_power_of_two():
    with pytest.raises(InternalError, match="24 rows"):
        RowRing(2, 8, 24)
