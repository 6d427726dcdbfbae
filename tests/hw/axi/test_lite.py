"""The AXI4-Lite slave against a dictionary, and the register map as data."""

import random

import pytest

from hw.axi.lite import RegisterFile
from hw.axi.signature import Response
from hw.config import TOY, ZCU102
from hw.control.register_map import ID, Access, Field, Register, register_map, to_dict, to_markdown
from tests.hw.axi.harness import simulate
from tests.hw.axi.lite_master import LiteMaster
from triovit.errors import InternalError

MAP = (
    Register("FIXED", 0, "", (Field("", 0, 32, Access.CONST, "", 0xDEADBEEF),)),
    Register("PLAIN", 4, "", (Field("", 0, 32, Access.RW, "", 0x12345678),)),
    Register("MIXED", 8, "", (
        Field("go", 0, 2, Access.PULSE, ""), Field("mode", 6, 12, Access.RW, "", 5), Field("live", 20, 4, Access.RO, ""),
        Field("seen", 28, 3, Access.STICKY, ""),
    )),
)


def test_reads_and_writes_follow_a_dictionary():
    dut = RegisterFile(MAP)
    master, rng = LiteMaster(dut.bus, seed=1), random.Random(2)

    async def testbench(ctx):
        plain, mode = 0x12345678, 5
        ctx.set(dut.mixed_live, 9)
        for _ in range(150):
            address, value, strobe = rng.choice((0, 4, 8, 12, 0x100, 0xFFC)), rng.getrandbits(32), rng.getrandbits(4)
            mask = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1)
            response = await master.write(ctx, address, value, strobe)
            assert response == (Response.OKAY if address <= 8 else Response.SLVERR).value
            if address == 4:
                plain = plain & ~mask | value & mask
            if address == 8:
                mode = (mode << 6 & ~mask | value & mask) >> 6 & 0xFFF
            assert await master.read(ctx, 0) == (0xDEADBEEF, Response.OKAY.value)
            assert await master.read(ctx, 4) == (plain, Response.OKAY.value)
            assert await master.read(ctx, 8) == (9 << 20 | mode << 6, Response.OKAY.value)
            assert await master.read(ctx, 12) == (0, Response.SLVERR.value)
            assert ctx.get(dut.plain) == plain
            assert ctx.get(dut.mixed_mode) == mode

    simulate(dut, testbench)
    assert master.address_first > 20
    assert master.data_first > 20


def test_pulses_last_one_cycle():
    dut = RegisterFile(MAP)
    master, seen = LiteMaster(dut.bus, delay=0), []

    async def watch(ctx):
        while True:
            *_, value = await ctx.tick().sample(dut.mixed_go)
            if value:
                seen.append(value)

    async def testbench(ctx):
        for value, strobe in ((1, 15), (2, 15), (3, 14), (3, 1), (0, 15)):
            await master.write(ctx, 8, value, strobe)
        for _ in range(3):
            await ctx.tick()

    simulate(dut, testbench, background=[watch])
    assert seen == [1, 2, 3]


def test_sticky_bits_are_set_by_hardware_and_cleared_by_ones():
    dut = RegisterFile(MAP)
    master = LiteMaster(dut.bus)

    async def testbench(ctx):
        ctx.set(dut.mixed_seen_set, 0b110)
        await ctx.tick()
        ctx.set(dut.mixed_seen_set, 0)
        assert ctx.get(dut.mixed_seen) == 0b110
        await master.write(ctx, 8, 0b010 << 28)
        assert ctx.get(dut.mixed_seen) == 0b100
        await master.write(ctx, 8, 0b100 << 28, 7)
        assert ctx.get(dut.mixed_seen) == 0b100
        ctx.set(dut.mixed_seen_set, 0b100)
        await master.write(ctx, 8, 0b100 << 28)
        assert ctx.get(dut.mixed_seen) == 0b100
        ctx.set(dut.mixed_seen_set, 0)
        ctx.set(dut.mixed_seen_clear, 1)
        await ctx.tick()
        assert ctx.get(dut.mixed_seen) == 0

    simulate(dut, testbench)


def test_exports_name_every_register():
    for config in (TOY, ZCU102):
        text, plain = to_markdown(config), to_dict(config)
        for register in register_map(config):
            assert f"| {register.name} |" in text
            assert plain[register.name]["offset"] == register.offset
        assert plain["ID"]["fields"]["value"]["reset"] == ID == int.from_bytes(b"TVIT", "big")
        assert plain["PROGRAM_ADDR_HI"]["fields"]["value"]["bits"] == config.axi_address_bits - 32
        offsets = [register.offset for register in register_map(config)]
        assert len(set(offsets)) == len(offsets)


def test_overlapping_fields_are_refused():
    fields = (Field("a", 0, 4, Access.RW, ""), Field("b", 3, 2, Access.RW, ""))
    with pytest.raises(InternalError, match="field b overlaps"):
        Register("R", 0, "", fields)
    with pytest.raises(InternalError, match="offset 0x2"):
        Register("R", 2, "", fields[:1])
