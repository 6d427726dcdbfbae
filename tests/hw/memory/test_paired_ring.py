"""The paired ring against two lists, cycle by cycle, with stalls at both ends."""

import random
from collections import Counter, deque

import pytest
from amaranth.hdl import Value
from amaranth.lib import data

from hw.interfaces import PARAM
from hw.memory.paired_ring import PairedRing
from tests.hw.axi.harness import simulate
from tests.support.ring_words import WORD, written_and_read
from triovit.errors import InternalError

#: Cycles from taking a row's last word to counting it as filled.
FILLED = 2


class Ring:
    """What one of both must hold: rows with the cycles of their last words, from the base on, and one that is not whole."""

    def __init__(self, banks: int, bits: int, rng: random.Random):
        self.banks, self.bits, self.rng = banks, bits, rng
        self.forget()

    def forget(self) -> None:
        self.rows: list[tuple[int, list[int]]] = []
        self.row, self.left = [0] * self.banks, []

    def word(self) -> dict[str, int]:
        """The next word, for some of the row's banks that have none yet: pixel slots share one."""
        if not self.left:
            self.left = list(range(self.banks))
            self.rng.shuffle(self.left)
        self.group = self.left[: self.rng.randint(1, len(self.left))]
        banks = sum(1 << bank for bank in self.group)
        return {"data": self.rng.getrandbits(self.bits), "banks": banks, "last": int(len(self.group) == len(self.left))}

    def take(self, word: dict[str, int], cycle: int) -> None:
        for bank in self.group:
            self.row[bank] = word["data"]
        self.left = self.left[len(self.group) :]
        if word["last"]:
            self.rows.append((cycle, self.row))
            self.row = [0] * self.banks

    def filled(self, cycle: int) -> int:
        return sum(taken + FILLED <= cycle for taken, _ in self.rows)


def run(banks: int, bits: int, depths: tuple[int, int], cycles: int, seed: int) -> None:
    rng, dut, seen = random.Random(seed), PairedRing(banks, bits, depths), Counter()
    rings = [Ring(banks, bits, rng) for _ in range(2)]
    expected, arriving, held = [0] * banks, deque([None] * dut.latency), False

    async def testbench(ctx):
        nonlocal expected, held
        offered, writes, frees = None, 0.9, [0.1, 0.1]
        for cycle in range(cycles):
            if rng.random() < 0.01:
                writes, frees = rng.choice((0.4, 0.9)), [rng.choice((0, 0.05, 0.8)) for _ in rings]
            clear = [rng.random() < 0.002 for _ in rings]
            filled = [ring.filled(cycle) for ring in rings]
            assert [ctx.get(port) for port in dut.filled] == filled
            # A row is read, kept until the next one comes, whatever is released and forgotten meanwhile.
            expected = arriving.popleft() or expected
            got = ctx.get(Value.cast(dut.row))
            assert [got >> bits * bank & (1 << bits) - 1 for bank in range(banks)] == expected
            place, asked = rng.randrange(2), None
            if filled[place] and rng.random() < 0.7:
                offset = rng.randrange(filled[place])
                asked = rings[place].rows[offset][1]
                ctx.set(dut.offset, offset)
                seen["read", place] += 1
            seen["empty", place] += not filled[place]
            ctx.set(dut.en, asked is not None)
            ctx.set(dut.ring, place)
            arriving.append(asked)
            freed = [rng.randint(1, filled[p]) if filled[p] and rng.random() < frees[p] else 0 for p in range(2)]
            # A word waits as long as its ring is full; then sometimes the other ring's turn comes before it.
            if offered is None or (held and rng.random() < 0.5):
                place = 1 - offered[0] if held else rng.randrange(2)
                offered = (place, rings[place].word()) if held or rng.random() < writes else None
            held = False
            for p, ring in enumerate(rings):
                ctx.set(dut.clear[p], clear[p])
                ctx.set(dut.free[p], freed[p])
                if offered is None or offered[0] != p:
                    # The other ring's word never meets this one's room.
                    ctx.set(dut.i.payload.ring, p)
                    assert ctx.get(dut.i.ready) == (len(ring.rows) < depths[p] and not clear[p])
            ctx.set(dut.i.valid, offered is not None)
            seen["idle"] += offered is None
            if offered is not None:
                place, word = offered
                ctx.set(dut.i.payload, word | {"ring": place})
                ready = len(rings[place].rows) < depths[place] and not clear[place]
                assert ctx.get(dut.i.ready) == ready
                if ready:
                    rings[place].take(word, cycle)
                    offered = None
                    seen["beside a full one", place] += len(rings[1 - place].rows) == depths[1 - place]
                else:
                    held = True
                    seen["full", place] += 1
            for p, ring in enumerate(rings):
                del ring.rows[: freed[p]]
                if clear[p]:
                    seen["cleared", p] += bool(ring.rows or any(ring.row))
                    ring.forget()
                    if offered is not None and offered[0] == p:
                        offered = (p, ring.word())
            await ctx.tick()

    simulate(dut, testbench)
    kinds = [(what, p) for what in ("read", "empty", "full", "beside a full one", "cleared") for p in range(2)]
    assert all(seen[kind] > 2 for kind in (*kinds, "idle")), seen


@pytest.mark.parametrize(
    ("banks", "bits", "depths"),
    [(4, 8, (8, 8)), (2, 128, (3, 5)), (1, 5, (2, 2)), (3, 7, (12, 20)), (6, 6, (5, 3)), (5, 4, (2, 6))],
)
def test_two_rings_match_two_lists(banks, bits, depths):
    """Of as many rows, and of whatever rows fill a power of two."""
    run(banks, bits, depths, 4000, seed=banks)


def test_a_full_ring_stops_its_own_words_only():
    dut = PairedRing(2, 8, (4, 4))

    async def put(ctx, ring, value, banks=3, last=1):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, {"data": value, "banks": banks, "last": last, "ring": ring})
        assert ctx.get(dut.i.ready)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)

    async def read(ctx, ring, offset):
        ctx.set(dut.en, 1)
        ctx.set(dut.ring, ring)
        ctx.set(dut.offset, offset)
        await ctx.tick()
        ctx.set(dut.en, 0)
        await ctx.tick()
        return [ctx.get(dut.row[0]), ctx.get(dut.row[1])]

    async def testbench(ctx):
        for value in range(4):
            await put(ctx, 0, value)
        ctx.set(dut.i.payload.ring, 0)
        assert not ctx.get(dut.i.ready)
        # A row of the other ring whose words come one by one.
        await put(ctx, 1, 0x55, banks=2, last=0)
        await put(ctx, 1, 0x66, banks=1)
        await ctx.tick()
        assert [ctx.get(filled) for filled in dut.filled] == [4, 1]
        assert await read(ctx, 1, 0) == [0x66, 0x55]
        ctx.set(dut.free[0], 3)
        await ctx.tick()
        ctx.set(dut.free[0], 0)
        assert await read(ctx, 0, 0) == [3, 3]
        ctx.set(dut.clear[0], 1)
        ctx.set(dut.i.payload.ring, 0)
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.i.payload.ring, 1)
        assert ctx.get(dut.i.ready)
        await ctx.tick()
        ctx.set(dut.clear[0], 0)
        assert [ctx.get(filled) for filled in dut.filled] == [0, 1]
        await put(ctx, 0, 0x77)
        await ctx.tick()
        assert await read(ctx, 0, 0) == [0x77, 0x77]
        assert await read(ctx, 1, 0) == [0x66, 0x55]

    simulate(dut, testbench)


def test_structured_words_keep_their_fields():
    assert written_and_read(PairedRing(2, data.ArrayLayout(PARAM, 4), (2, 2)), "ring") == WORD


def test_rows_are_a_power_of_two():
    with pytest.raises(InternalError, match="24 rows"):
        PairedRing(2, 8, (8, 16))
