"""The weight decoder: packets through rings, and what it refuses."""

import random
import struct

import pytest
from amaranth import Module
from amaranth.hdl import Value
from amaranth.lib import wiring

from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.io.stream_decoder import MAGIC, Kind, WeightDecoder, param_word, weight_word
from hw.memory.paired_ring import PairedRing
from hw.memory.row_ring import RowRing
from tests.hw.axi.harness import Stalls, send, simulate

WEIGHTS = {Kind.MAT_WEIGHTS: "mat_weights", Kind.RMAC_WEIGHTS: "rmac_weights"}
#: By their ring.
PARAMS = (Kind.MAT_PARAMS, Kind.RMAC_PARAMS)

FIELDS = ("bias", "mult", "shift", "three", "zero")


def header(kind: int, lp: int, rows: int, magic: int = MAGIC) -> int:
    return magic | kind << 16 | lp << 20 | rows << 32


def record(rng: random.Random) -> tuple[tuple[int, ...], bytes]:
    values = (rng.randint(-(1 << 26), (1 << 26) - 1), rng.getrandbits(16), rng.randint(0, 47), rng.getrandbits(14),
              rng.randint(-512, 511))
    bias, mult, shift, three, zero = values
    return values, struct.pack("<iHBxHh4x", bias, mult, shift, three, zero)


def packet(config: AcceleratorConfig, rng: random.Random, kind: Kind, lp: int, rows: int) -> tuple[list[int], list[list]]:
    """Beats of a packet, and the rows it makes: for each bank a weight word or the parameters of each channel."""
    beats, made, width = [header(kind, lp, rows)], [], config.beat_bytes
    for _ in range(rows):
        row: list = [None] * config.l
        for slot in range(config.l >> lp):
            if kind in WEIGHTS:
                word: object = rng.getrandbits(8 * width)
                beats.append(word)
            else:
                records = [record(rng) for _ in range(config.m)]
                word = [values for values, _ in records]
                blob = b"".join(raw for _, raw in records).ljust(config.param_beats * width, b"\0")
                beats += [int.from_bytes(blob[at:at + width], "little") for at in range(0, len(blob), width)]
            for block in range(config.l):
                if block >> lp == slot:
                    row[block] = word
        made.append(row)
    return beats, made


class Decoded(wiring.Component):
    """The decoder with its rings."""

    def __init__(self, config: AcceleratorConfig, depth: int):
        self.decoder = WeightDecoder(config)
        self.rings = {kind: RowRing(config.l, weight_word(config), depth) for kind in WEIGHTS}
        self.params = PairedRing(config.l, param_word(config), (depth, depth))
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = self.decoder
        for kind, ring in self.rings.items():
            m.submodules[WEIGHTS[kind]] = ring
            wiring.connect(m, getattr(self.decoder, WEIGHTS[kind]), ring.i)
        m.submodules.params = self.params
        wiring.connect(m, self.decoder.params, self.params.i)
        return m


@pytest.mark.parametrize("config", [TOY, ZCU102])
def test_rows_reach_their_ring(config):
    dut, rng = Decoded(config, 2), random.Random(7)
    top = config.l.bit_length() - 1
    beats: list[int] = []
    expected: dict[Kind, list[list]] = {kind: [] for kind in Kind}
    for number in range(40 if config is TOY else 12):
        kind = Kind(number % 4) if number < 8 else rng.choice(list(Kind))
        more, made = packet(config, rng, kind, rng.choice((*range(top), top, top)), rng.randint(1, 4))
        beats += more
        expected[kind] += made
    source, blocked = Stalls(1), []

    async def writer(ctx):
        await send(ctx, dut.decoder.i, beats, source, blocked)

    def reader(*kinds: Kind):
        """Reads the rows of one ring, or in turn those that either of two has."""
        stalls = Stalls(kinds[0] + 10, 0.6)
        ports = {kind: dut.rings[kind] if kind in WEIGHTS else dut.params for kind in kinds}
        filled = {kind: port.filled if kind in WEIGHTS else port.filled[PARAMS.index(kind)] for kind, port in ports.items()}
        free = {kind: port.free if kind in WEIGHTS else port.free[PARAMS.index(kind)] for kind, port in ports.items()}

        async def testbench(ctx):
            while any(expected[kind] for kind in kinds):
                found = [kind for kind in kinds if ctx.get(filled[kind])]
                if stalls() or not found:
                    await ctx.tick()
                    continue
                kind = found[len(expected[found[0]]) % len(found)]
                port, row = ports[kind], expected[kind].pop(0)
                ctx.set(port.offset, 0)
                ctx.set(port.en, 1)
                if kind in PARAMS:
                    ctx.set(port.ring, PARAMS.index(kind))
                ctx.set(free[kind], 1)
                await ctx.tick()
                ctx.set(port.en, 0)
                ctx.set(free[kind], 0)
                await ctx.tick()
                for bank in range(config.l):
                    if kind in PARAMS:
                        got = [tuple(ctx.get(param[name]) for name in FIELDS) for param in port.row[bank]]
                    else:
                        got = ctx.get(Value.cast(port.row[bank]))
                    assert got == row[bank]
            assert stalls.count > 5

        return testbench

    simulate(dut, writer, *(reader(kind) for kind in WEIGHTS), reader(*PARAMS))
    assert source.count > 10
    assert blocked


@pytest.mark.parametrize("bad", [header(0, 0, 1, MAGIC ^ 1), header(4, 0, 1), header(0, 3, 1), header(1, 0, 0)])
def test_a_bad_header_stops_the_stream(bad):
    dut = WeightDecoder(TOY)

    async def testbench(ctx):
        ctx.set(dut.mat_weights.ready, 1)
        await send(ctx, dut.i, [header(0, 2, 1), 1, bad], Stalls(1))
        ctx.set(dut.i.valid, 1)
        for _ in range(5):
            assert ctx.get(dut.error) == 1
            assert ctx.get(dut.i.ready) == 0
            await ctx.tick()

    simulate(dut, testbench)


def test_takes_a_beat_a_cycle():
    dut, rng = WeightDecoder(TOY), random.Random(1)
    beats = [beat for kind in Kind for beat in packet(TOY, rng, kind, 1, 5)[0]]
    cycles = 0

    async def testbench(ctx):
        nonlocal cycles
        for port in (dut.mat_weights, dut.rmac_weights, dut.params):
            ctx.set(port.ready, 1)
        blocked: list = []
        await send(ctx, dut.i, beats, Stalls(1, 0), blocked)
        cycles = len(blocked)

    simulate(dut, testbench)
    assert cycles == 0
