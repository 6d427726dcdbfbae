"""A parameter word through a ring of rows, whichever kind it is."""

from amaranth.lib import wiring

from tests.hw.axi.harness import simulate

#: Values that need every bit of their fields, and signs.
WORD = {"bias": -5, "mult": 65535, "shift": 47, "three": 9, "zero": -300}


def written_and_read(dut: wiring.Component, *selects: str) -> dict[str, int]:
    """What comes out of channel 3 of bank 1 where ``WORD`` was written; ``selects`` are the ports that choose ring 1."""
    found: dict[str, int] = {}

    async def testbench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload.banks, 2)
        ctx.set(dut.i.payload.last, 1)
        ctx.set(dut.i.payload.data[3], WORD)
        for name in selects:
            ctx.set(dut.i.payload[name], 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.en, 1)
        for name in selects:
            ctx.set(getattr(dut, name), 1)
        await ctx.tick().repeat(3)
        found.update({name: ctx.get(dut.row[1][3][name]) for name in WORD})

    simulate(dut, testbench)
    return found
