"""The way to the banks against its definition: any pixel, channel group, split and tensor, for every kind of buffer."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.interfaces import LOGIT_BITS, words, write_layout
from hw.io.load_aligner import LoadAligner
from hw.io.loader import Loader, unfold_split
from hw.memory.bank_buffer import BankBuffer
from hw.memory.bank_rows import BankRows
from hw.memory.output_buffer import BeatReadSignature, OutputBuffer, beat_pixels
from hw.memory.placement import Placement, row_bits
from tests.hw.units.drive import plain, simulate, stream_through

EIGHT = TOY.with_(name="eight", n=8, m=8, t=8, s=8, l=8, max_dim=16)
#: Two pixels a write of LOAD.
TWO = ZCU102.with_(l=8)


def geometry(lanes: int) -> st.SearchStrategy[dict[str, int]]:
    """Where a write begins, and in what tensor."""
    return st.fixed_dictionaries({
        "px": st.integers(0, 5000),
        "cg": st.integers(0, 300),
        "split": st.integers(0, lanes.bit_length() - 1),
        "base": st.integers(0, (1 << 14) - 1),
        "rows": st.integers(0, 700),
        "ring": st.sampled_from([0, 0, 1, 2, 4, 9]),
        "fold": st.integers(0, 2),
    })


def place(lanes: int, at: dict[str, int], d: int) -> tuple[int, int, int, int]:
    """Pixel, channel group, bank, and row without the base of word ``d``."""
    px, cg = at["px"] + d % (1 << at["split"]), at["cg"] + (d >> at["split"])
    row = px // lanes % (1 << at["ring"]) if at["ring"] else px // lanes
    return px, cg, (px + (cg << at["split"])) % lanes, cg * at["rows"] + row


@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.data())
def test_the_row_of_every_bank(lanes: int, given_data: st.DataObject):
    """Reads begin before the first pixel, too, and have a skew of their own where all lanes are pixels."""
    ats = given_data.draw(st.lists(geometry(lanes), min_size=20, max_size=30))
    vectors = []
    for at in ats:
        at["px"] -= 40
        whole = at["split"] == lanes.bit_length() - 1
        skew = given_data.draw(st.integers(0, at["split"])) if whole else at["split"]
        vectors.append({name: at[name] for name in ("px", "cg", "base", "rows", "split", "ring")} | {"skew": skew})
    got = stream_through(BankRows(lanes, 11), BankRows.latency, vectors, ["row"])
    for at, vector, out in zip(ats, vectors, got, strict=True):
        for d in range(lanes):
            *_, row = place(lanes, at, d)
            bank = (at["px"] + (at["cg"] << vector["skew"]) + d) % lanes
            assert out["row"][bank] == (at["base"] + row) % (1 << 11), (vector, d)


def drawn_writes(config: AcceleratorConfig, ats: Sequence[dict[str, int]], seed: int) -> list[dict[str, Any]]:
    """A payload for each place."""
    rng = random.Random(seed)
    return [
        {
            "mask": rng.getrandbits(config.l),
            **at,
            "words": [[rng.randint(-128, 127) for _ in range(config.m)] for _ in range(config.l)],
        }
        for at in ats
    ]


@pytest.mark.parametrize(("config", "wide"), [(TOY, 4), (EIGHT, 8), (EIGHT, 4), (ZCU102, 8)])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.data())
def test_words_and_their_places_by_bank(config: AcceleratorConfig, wide: int, given_data: st.DataObject):
    lanes = config.l
    payloads = drawn_writes(config, given_data.draw(st.lists(geometry(lanes), min_size=12, max_size=20)), wide)
    dut = Placement(config, wide)
    got = []

    async def testbench(ctx):
        for cycle in range(len(payloads) + dut.latency):
            if cycle < len(payloads):
                ctx.set(dut.write, payloads[cycle])
            if cycle >= dut.latency:
                got.append({
                    name: plain(ctx.get(dut.placed[name])) for name in ("mask", "rows", "sub", "turns", "next", "words")
                })
            await ctx.tick()

    simulate(dut, testbench)
    for at, out in zip(payloads, got, strict=True):
        share, chunks = wide >> at["fold"], 1 << at["fold"]
        for d in range(lanes):
            px, cg, bank, row = place(lanes, at, d)
            assert out["mask"] >> bank & 1 == at["mask"] >> d & 1
            assert out["words"][bank] == at["words"][d]
            assert out["rows"][bank] == row % (1 << row_bits(config)), (at, d)
            assert out["turns"][bank] == cg // wide - at["cg"] // wide
            chunk = px // lanes
            assert out["sub"][bank] == chunk % chunks * share + cg % share, (at, d)
            assert out["next"] >> bank & 1 == chunk // chunks - at["px"] // lanes // chunks


@pytest.mark.parametrize("config", [TOY, TWO, ZCU102], ids=["half a pixel", "two pixels", "four pixels"])
def test_load_has_the_cycles_that_results_leave(config: AcceleratorConfig):
    """Both come and go at random; LOAD has its own split, and begins with a channel group where pixels have several writes."""
    rng, lanes, dut = random.Random(config.l), config.l, LoadAligner(config)
    split, parts = unfold_split(config), Loader.parts(config)
    loads, results, got = [], [], []
    for _ in range(60):
        at = {
            "px": rng.randrange(20000), "cg": rng.randrange(parts) * (lanes >> split), "split": split, "base": 0,
            "rows": rng.randrange(2048), "ring": rng.choice([0, 1, 4]), "fold": 0,
        }
        loads.append(drawn_writes(config, [at], rng.random())[0] if rng.random() < 0.6 else None)
        results.append({
            "mask": rng.getrandbits(lanes),
            "rows": [rng.randrange(1 << row_bits(config)) for _ in range(lanes)],
            "words": [[rng.randint(-128, 127) for _ in range(config.m)] for _ in range(lanes)],
        })

    async def testbench(ctx):
        for cycle in range(len(loads) + Placement.latency):
            if cycle < len(loads):
                ctx.set(dut.valid, loads[cycle] is not None)
                # What does not count is there all the same.
                ctx.set(dut.load, loads[cycle] or next(load for load in loads if load))
            if cycle >= Placement.latency:
                ctx.set(dut.placed, results[cycle - Placement.latency])
                got.append({name: plain(ctx.get(dut.o[name])) for name in ("mask", "rows", "words")})
            await ctx.tick()

    simulate(dut, testbench)
    for load, result, out in zip(loads, results, got, strict=True):
        expected: dict[str, Any] = result
        if load:
            expected = {"mask": 0, "rows": [0] * lanes, "words": [[]] * lanes}
            for d in range(lanes):
                *_, bank, row = place(lanes, load, d)
                expected["mask"] |= (load["mask"] >> d & 1) << bank
                expected["rows"][bank] = row % (1 << row_bits(config))
                expected["words"][bank] = load["words"][d]
        assert out == expected, load


class Outputs(wiring.Component):
    """Placement and the O buffer."""

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__({
            "valid": In(1),
            "write": In(write_layout(config)),
            "upper": In(words(config)),
            "read": In(BeatReadSignature(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.placement = placement = Placement(self.config)
        m.submodules.buffer = buffer = OutputBuffer(self.config)
        wiring.connect(m, wiring.flipped(self.read), buffer.read)
        m.d.comb += [
            placement.write.eq(self.write),
            buffer.write.valid.eq(self.valid),
            buffer.write.base.eq(self.write.base),
            buffer.write.placed.eq(placement.placed),
            buffer.upper.eq(self.upper),
            buffer.amount.eq(placement.amount),
        ]
        return m


@pytest.mark.parametrize(
    ("config", "split"), [(TOY, 0), (TOY, 1), (TOY, 2), *((EIGHT, split) for split in range(4)), (ZCU102, 0), (ZCU102, 1)]
)
def test_results_are_read_by_the_beat(config: AcceleratorConfig, split: int):
    rng, lanes, dut = random.Random(split), config.l, Outputs(config)
    lp, lc, pixels, groups = 1 << split, lanes >> split, lanes + 3, 2 * (lanes >> split) + 1
    base, rows, limit = 2, 2, 1 << LOGIT_BITS - 1
    tensor = {
        (px, cg): [rng.randrange(-limit, limit) for _ in range(config.m)] for px in range(pixels) for cg in range(groups)
    }

    async def bench(ctx):
        for cg in range(0, groups, lc):
            px = 0
            while px < pixels:
                # Segments end anywhere.
                count = min(rng.randint(1, lp), pixels - px)
                whole = [tensor.get((px + d % lp, cg + d // lp), [0] * config.m) for d in range(lanes)]
                mask = sum((d % lp < count and cg + d // lp < groups) << d for d in range(lanes))
                ctx.set(dut.valid, 1)
                ctx.set(dut.write, {
                    "mask": mask, "px": px, "cg": cg, "split": split, "base": base, "rows": rows,
                    "words": [[(value & 255 ^ 128) - 128 for value in word] for word in whole],
                })
                ctx.set(dut.upper, [[value >> 8 for value in word] for word in whole])
                await ctx.tick()
                px += count
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(BankBuffer.write_latency - 1)
        beat = beat_pixels(config)
        requests = [(px, cg) for px in range(0, pixels, beat) for cg in range(groups)]
        rng.shuffle(requests)
        for cycle in range(len(requests) + OutputBuffer.read_latency):
            if cycle < len(requests):
                px, cg = requests[cycle]
                mask = sum((px + lane < pixels) << lane for lane in range(beat))
                for name, value in {"px": px, "cg": cg, "base": base, "rows": rows, "skew": split, "mask": mask}.items():
                    ctx.set(getattr(dut.read, name), value)
            if cycle >= OutputBuffer.read_latency:
                px, cg = requests[cycle - OutputBuffer.read_latency]
                expected = [tensor.get((px + lane, cg), [0] * config.m) for lane in range(beat)]
                assert plain(ctx.get(dut.read.data)) == expected, (px, cg)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
