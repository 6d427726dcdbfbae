"""Two readers of X, Y and D against dictionaries: any reads in the same cycles, from buffers of different depths."""

import random
from typing import Any

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from hw.config import TOY, AcceleratorConfig
from hw.control.descriptor import Buffer
from hw.interfaces import ReadSignature
from hw.memory.bank_buffer import BankBuffer
from hw.memory.placement import PlacedSignature, Placement
from hw.memory.reader import Reader
from hw.memory.shared_reads import SharedReads, deepest_rows, trunk_rows

DEPTHS = {Buffer.X: 32, Buffer.Y: 64, Buffer.D: 128}
SMALL = TOY.with_(name="small", x_rows=DEPTHS[Buffer.X], y_rows=DEPTHS[Buffer.Y], d_rows=DEPTHS[Buffer.D])
SHALLOW = SMALL.with_(name="shallow", l=8, d_rows=16)
BROAD = SMALL.with_(name="broad", l=16)


class Shared(wiring.Component):
    """Both readers, what is between them and the buffers, and the buffers, all of them written at once."""

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__({
            "mat": In(ReadSignature(config)),
            "mat_src": In(Buffer),
            "residual": In(ReadSignature(config)),
            "residual_src": In(Buffer),
            "x": In(PlacedSignature(config, 1)),
            "y": In(PlacedSignature(config, 1)),
            "d": In(PlacedSignature(config, 1)),
        })

    def elaborate(self, platform: object) -> Module:
        """As the core has them."""
        m = Module()
        config = self.config
        m.submodules.shared = shared = SharedReads(config)
        m.submodules.mat_reader = mat = Reader(config, deepest_rows(config), spreads=False)
        m.submodules.residual_reader = residual = Reader(config, trunk_rows(config))
        wiring.connect(m, wiring.flipped(self.mat), mat.read)
        wiring.connect(m, wiring.flipped(self.residual), residual.read)
        wiring.connect(m, mat.banks, shared.mat)
        wiring.connect(m, residual.banks, shared.residual)
        m.d.comb += [
            shared.mat_src.eq(self.mat_src),
            shared.residual_valid.eq(self.residual.valid),
            shared.residual_src.eq(self.residual_src),
        ]
        for name, rows in (("x", config.x_rows), ("y", config.y_rows), ("d", config.d_rows)):
            m.submodules[name] = buffer = BankBuffer(config, rows)
            wiring.connect(m, wiring.flipped(getattr(self, name)), buffer.write)
            wiring.connect(m, getattr(shared, name), buffer.read)
        return m


def _request(rng: random.Random, config: AcceleratorConfig, *, spreads: bool) -> dict[str, int]:
    bits = config.l.bit_length() - 1
    spread = rng.randint(0, bits) if spreads else 0
    return {
        "px": rng.randrange(-config.l, 6 * config.l),
        "cg": rng.randrange(20),
        "base": rng.randrange(16),
        "rows": rng.randrange(1, 7),
        "skew": bits - spread if spread else rng.randint(0, bits),
        "spread": spread,
        "ring": rng.choice((0, 0, 1, 2)),
    }


def _place(config: AcceleratorConfig, depth: int, request: dict[str, int], lane: int) -> tuple[int, int]:
    """Bank and row of what a lane reads (docs/architecture.md, section 2)."""
    slots = config.l >> request["spread"]
    px, cg = request["px"] + lane % slots, request["cg"] + lane // slots
    row = px // config.l
    if request["ring"]:
        row %= 1 << request["ring"]
    return (px + (cg << request["skew"])) % config.l, (request["base"] + cg * request["rows"] + row) % depth


@pytest.mark.parametrize("config", [SMALL, SHALLOW, BROAD], ids=lambda config: config.name)
@pytest.mark.parametrize("seed", range(3))
def test_two_readers_read_what_was_written(config: AcceleratorConfig, seed: int):
    rng, dut = random.Random(seed), Shared(config)
    depths = {Buffer.X: config.x_rows, Buffer.Y: config.y_rows, Buffer.D: config.d_rows}
    written = {
        place: [[[rng.randint(-128, 127) for _ in range(config.m)] for _ in range(depth)] for _ in range(config.l)]
        for place, depth in depths.items()
    }
    cycles, pairs = [], 0
    for _ in range(400):
        reads: dict[str, tuple[Buffer, dict[str, int]]] = {}
        if rng.random() < 0.6:
            reads["residual"] = rng.choice((Buffer.X, Buffer.Y)), _request(rng, config, spreads=True)
        # Whatever the source is while MAT reads nothing must not hinder the residual.
        source = rng.choice(list(depths))
        if rng.random() < 0.8 and ("residual" not in reads or reads["residual"][0] != source):
            reads["mat"] = source, _request(rng, config, spreads=False)
        pairs += len(reads) == 2
        cycles.append((source, reads))
    assert pairs > 80

    async def fill(ctx: Any) -> None:
        writes = {Buffer.X: dut.x, Buffer.Y: dut.y, Buffer.D: dut.d}
        for write in writes.values():
            ctx.set(write.valid, 1)
        await ctx.tick().repeat(Placement.latency)
        for row in range(max(depths.values())):
            for place, write in writes.items():
                ctx.set(write.placed.mask, (1 << config.l) - 1 if row < depths[place] else 0)
                if row < depths[place]:
                    ctx.set(write.placed.rows, [row] * config.l)
                    ctx.set(write.placed.words, [bank[row] for bank in written[place]])
            await ctx.tick()
        for write in writes.values():
            ctx.set(write.placed.mask, 0)
        await ctx.tick()

    async def bench(ctx: Any) -> None:
        await fill(ctx)
        ports = {"mat": dut.mat, "residual": dut.residual}
        for n in range(len(cycles) + Reader.latency):
            source, reads = cycles[n] if n < len(cycles) else (Buffer.X, {})
            ctx.set(dut.mat_src, source)
            for name, port in ports.items():
                ctx.set(port.valid, name in reads)
                # Without a request the fields are anything.
                fields = reads[name][1] if name in reads else _request(rng, config, spreads=name == "residual")
                for field, value in fields.items():
                    ctx.set(getattr(port, field), value)
            ctx.set(dut.residual_src, reads["residual"][0] if "residual" in reads else rng.choice((Buffer.X, Buffer.Y)))
            if n >= Reader.latency:
                for name, (place, request) in cycles[n - Reader.latency][1].items():
                    for lane in range(config.l):
                        bank, row = _place(config, depths[place], request, lane)
                        got = [ctx.get(channel) for channel in getattr(dut, name).data[lane]]
                        assert got == written[place][bank][row], (n, name, place, request, lane)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
