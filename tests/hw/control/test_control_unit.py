"""A host that runs programs through the registers, with units that only pretend to work."""

import random

from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi.linear_reader import LinearReader
from hw.axi.read_arbiter import ReadArbiter
from hw.axi.signature import AxiLite, AxiRead
from hw.config import TOY
from hw.control.control_unit import ControlUnit
from hw.control.descriptor import Opcode
from hw.control.errors import ErrorCode
from hw.control.register_map import ID, STALLS, register_map
from tests.hw.axi.axi_memory import AxiMemory
from tests.hw.axi.harness import Stalls, simulate
from tests.hw.axi.lite_master import LiteMaster
from tests.hw.control.programs import descriptor, pretend, program

OFFSET = {register.name: register.offset for register in register_map(TOY)}
BUSY, DONE, ERROR = 1, 2, 4
START, SOFT_RESET, IRQ = 1, 2, 4
WEIGHTS = 8192


class Small(wiring.Component):
    """The control unit with the weight reader behind the same bus."""

    def __init__(self) -> None:
        self.control, self.weights, self.arbiter = ControlUnit(TOY), LinearReader(TOY), ReadArbiter(TOY, 2)
        super().__init__({"bus": In(AxiLite()), "axi": Out(AxiRead(TOY)), "take": In(1), "stalls": In(len(STALLS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = self.control
        m.submodules += [control, self.arbiter, ResetInserter(control.core_reset)(self.weights)]
        wiring.connect(m, wiring.flipped(self.bus), control.bus)
        wiring.connect(m, self.weights.axi, self.arbiter.clients[0])
        wiring.connect(m, control.axi, self.arbiter.clients[1])
        wiring.connect(m, self.arbiter.axi, wiring.flipped(self.axi))
        taken = self.weights.o.valid & self.take
        m.d.comb += [
            self.weights.start.eq(control.weights_start), self.weights.address.eq(control.weights_address),
            self.weights.beats.eq(control.weights_beats), self.weights.cancel.eq(control.cancel),
            self.weights.o.ready.eq(self.take), control.bus_busy.eq(self.weights.busy),
            control.read_error.eq(self.weights.error), control.weight_beat.eq(taken), control.progress.eq(taken),
            control.stalls.eq(self.stalls),
        ]
        return m


class Host:
    """Drives the registers of a simulated design."""

    def __init__(self, image: bytes, weights: int = 0, bad: tuple[int, ...] = (), longest: int = 30):
        self.dut = Small()
        contents = bytearray(random.Random(3).randbytes(1 << 15))
        contents[4096 - 64:4096 - 64 + len(image)] = image
        self.memory = AxiMemory(self.dut.axi, contents, bad=bad)
        self.master = LiteMaster(self.dut.bus)
        self.log: list = []
        self.weights, self.count, self.longest = weights, len(image) // 64, longest
        self.resets = 0

    async def write(self, ctx, name: str, value: int) -> None:
        assert await self.master.write(ctx, OFFSET[name], value) == 0

    async def read(self, ctx, name: str) -> int:
        value, response = await self.master.read(ctx, OFFSET[name])
        assert response == 0
        return value

    async def setup(self, ctx, watchdog: int = 2000) -> None:
        assert await self.read(ctx, "ID") == ID
        await self.write(ctx, "PROGRAM_ADDR_LO", 4096 - 64)
        await self.write(ctx, "PROGRAM_COUNT", self.count)
        await self.write(ctx, "WEIGHTS_ADDR_LO", WEIGHTS)
        await self.write(ctx, "WEIGHTS_BEATS", self.weights)
        await self.write(ctx, "WATCHDOG", watchdog)

    async def run(self, ctx) -> int:
        """Start with interrupts on, wait for the interrupt, then until not busy; returns the status."""
        await self.write(ctx, "CTRL", START | IRQ)
        while not ctx.get(self.dut.control.irq):
            await ctx.tick()
        return await self.settle(ctx)

    async def settle(self, ctx) -> int:
        """The status once it is not busy."""
        while (status := await self.read(ctx, "STATUS")) & BUSY:
            pass
        assert self.memory.idle
        return status

    def simulate(self, testbench) -> None:
        taking = Stalls(8)

        async def take(ctx):
            while True:
                ctx.set(self.dut.take, not taking())
                await ctx.tick()

        async def count_resets(ctx):
            while True:
                *_, reset = await ctx.tick().sample(self.dut.control.core_reset)
                self.resets += reset

        units = [pretend(getattr(self.dut.control, name), self.log, name, index, lambda: self.longest)
                 for index, name in enumerate(("mat", "rmac", "load", "store"))]
        simulate(self.dut, testbench, background=[take, count_resets, *self.memory.reading(), *units])


GOOD = program(
    descriptor(Opcode.LOAD, tag=1), descriptor(Opcode.PW, tag=2, wait=4, joint=1), descriptor(Opcode.DW, tag=3),
    descriptor(Opcode.LN, tag=4, wait=3), descriptor(Opcode.STORE, tag=5, wait=1), descriptor(Opcode.END, tag=6),
)


def test_a_run_ends_with_done_interrupt_and_counters_twice():
    host = Host(GOOD, weights=90)

    async def testbench(ctx):
        await host.setup(ctx)
        for _ in range(2):
            host.log.clear()
            assert await host.run(ctx) == DONE
            assert ctx.get(host.dut.control.irq) == 1
            assert [tag for _, what, _, tag, _ in host.log if what == "start"] == [1, 2, 3, 4, 5]
            assert await host.read(ctx, "ERROR") == 0
            cycles = await host.read(ctx, "CYCLES")
            busy = {name: await host.read(ctx, name) for name in ("MAT_BUSY", "RMAC_BUSY", "LOAD_BUSY", "STORE_BUSY")}
            assert all(0 < value < cycles for value in busy.values()), busy
            assert 0 < await host.read(ctx, "WEIGHT_BEATS_READ") <= 90
            await host.write(ctx, "STATUS", DONE)
            assert ctx.get(host.dut.control.irq) == 0

    host.simulate(testbench)
    assert host.resets == 2


def test_counters_may_be_for_one_layer():
    """Tags 1 to 5 are LOAD, a joint PW, DW, LN and STORE: what each unit's counter has of them, one at a time, adds up."""
    host = Host(GOOD, weights=90, longest=9)
    units = ("MAT_BUSY", "RMAC_BUSY", "LOAD_BUSY", "STORE_BUSY")
    stalls = [stall.name.upper() for stall in STALLS if stall.unit != "weight stream"]
    only = 1 << 16

    async def testbench(ctx):
        ctx.set(host.dut.stalls, (1 << len(STALLS)) - 1)
        await host.setup(ctx)
        for tag, working in ((1, {2}), (2, {0, 1}), (3, {1}), (4, {0}), (5, {3}), (7, set())):
            await host.write(ctx, "COUNTED_LAYER", only | tag)
            assert await host.run(ctx) == DONE
            busy = [await host.read(ctx, name) for name in units]
            assert {index for index, cycles in enumerate(busy) if cycles} == working, (tag, busy)
            counted = {name for name in stalls if await host.read(ctx, name)}
            # The stalls last as long as the bench, so they count from a unit's first task of the layer to its next task.
            assert {stall.name.upper() for stall in STALLS if stall.unit == "MAT"} <= counted if 0 in working else True
            assert await host.read(ctx, "CYCLES") > max(busy) and await host.read(ctx, "WEIGHT_BEATS_READ")
            await host.write(ctx, "STATUS", DONE)

    host.simulate(testbench)



def test_each_stall_has_its_counter():
    host = Host(GOOD, weights=90)

    async def testbench(ctx):
        await host.setup(ctx)
        for index, stall in enumerate(STALLS):
            ctx.set(host.dut.stalls, 1 << index)
            assert await host.run(ctx) == DONE
            counted = [await host.read(ctx, other.name.upper()) for other in STALLS]
            cycles = await host.read(ctx, "CYCLES")
            assert all(bool(value) == (other is stall) for other, value in zip(STALLS, counted, strict=True))
            # A unit waits for nothing before its first task, of this run or of one before.
            if stall.unit == "weight stream":
                assert counted[index] == cycles
            else:
                assert await host.read(ctx, f"{stall.unit.replace('-', '')}_BUSY") <= counted[index] <= cycles

    host.simulate(testbench)


def test_unused_weights_are_dropped():
    host = Host(program(descriptor(Opcode.END)), weights=1000)

    async def testbench(ctx):
        await host.setup(ctx)
        for _ in range(3):
            assert await host.run(ctx) == DONE
            assert await host.read(ctx, "WEIGHT_BEATS_READ") < 1000

    host.simulate(testbench)


def failing(image: bytes, code: ErrorCode, index: int | None, **options) -> None:
    """The run fails with a code at a descriptor (None: at any); after mending what was wrong the next one succeeds."""
    host = Host(image, **options)

    async def testbench(ctx):
        await host.setup(ctx, watchdog=300)
        assert await host.run(ctx) == ERROR
        value = await host.read(ctx, "ERROR")
        assert ErrorCode(value & 0xFFFF) is code
        assert index is None or value >> 16 == index
        host.memory.bad, host.longest = (), 30
        host.memory.memory[4096 - 64:4096 - 64 + len(GOOD)] = GOOD
        await host.write(ctx, "PROGRAM_COUNT", len(GOOD) // 64)
        # A unit that was cut off in the middle is reset by core_reset in a real design; here it just ends.
        while any(ctx.get(getattr(host.dut.control, name).busy) for name in ("mat", "rmac", "load", "store")):
            await ctx.tick()
        assert await host.run(ctx) == DONE
        assert await host.read(ctx, "ERROR") == 0

    host.simulate(testbench)
    assert host.resets == 2


def test_bad_descriptors_end_the_run():
    tasks = [descriptor(Opcode.LOAD), descriptor(Opcode.LN)]
    failing(program(*tasks, bytes(64)), ErrorCode.BAD_MAGIC, 2)
    failing(program(*tasks, descriptor(Opcode.DW, kernel=1)), ErrorCode.BAD_FIELD, 2)
    failing(program(*tasks[:1], bytes([tasks[0][0], 0x0E]) + bytes(62)), ErrorCode.BAD_OPCODE, 1)


def test_read_errors_end_the_run():
    failing(GOOD, ErrorCode.AXI_READ, 0, bad=(4096 - 64,))
    long_wait = program(descriptor(Opcode.LOAD), descriptor(Opcode.LOAD), descriptor(Opcode.LOAD), descriptor(Opcode.END))
    failing(long_wait, ErrorCode.AXI_READ, None, bad=(WEIGHTS + 640,), weights=200, longest=200)


def test_a_program_without_end_meets_the_watchdog():
    failing(program(descriptor(Opcode.LOAD), descriptor(Opcode.LN)), ErrorCode.WATCHDOG, 1)


def test_a_unit_that_never_finishes_meets_the_watchdog():
    failing(program(descriptor(Opcode.DW), descriptor(Opcode.END)), ErrorCode.WATCHDOG, 1, longest=4000)


def test_other_errors_have_their_codes():
    for name, code in (("write_error", ErrorCode.AXI_WRITE), ("bad_weights", ErrorCode.BAD_WEIGHTS)):
        host = Host(GOOD, longest=300)

        async def testbench(ctx, host=host, name=name, code=code):
            await host.setup(ctx)
            await host.write(ctx, "CTRL", START)
            ctx.set(getattr(host.dut.control, name), 1)
            assert await host.settle(ctx) == ERROR
            assert await host.read(ctx, "ERROR") & 0xFFFF == code.value
            assert ctx.get(host.dut.control.irq) == 0

        host.simulate(testbench)


def test_soft_reset_ends_a_run_without_a_status():
    host = Host(GOOD, weights=1000, longest=500)

    async def testbench(ctx):
        await host.setup(ctx)
        await host.write(ctx, "CTRL", START | IRQ)
        for _ in range(40):
            await ctx.tick()
        await host.write(ctx, "CTRL", SOFT_RESET | IRQ)
        assert await host.settle(ctx) == 0
        assert ctx.get(host.dut.control.irq) == 0
        while ctx.get(host.dut.control.load.busy):
            await ctx.tick()
        assert await host.run(ctx) == DONE
        await host.write(ctx, "CTRL", SOFT_RESET)
        assert await host.settle(ctx) == 0

    host.simulate(testbench)


def test_soft_reset_while_a_failed_run_drains_clears_its_verdict():
    host = Host(GOOD, weights=1000, longest=300)

    async def testbench(ctx):
        await host.setup(ctx)
        await host.write(ctx, "CTRL", START | IRQ)
        while not ctx.get(host.dut.control.weight_beat):
            await ctx.tick()
        ctx.set(host.dut.control.write_error, 1)
        while not ctx.get(host.dut.control.irq):
            await ctx.tick()
        ctx.set(host.dut.control.write_error, 0)
        assert ctx.get(host.dut.control.cancel)
        await host.write(ctx, "CTRL", SOFT_RESET | IRQ)
        assert await host.settle(ctx) == 0
        assert ctx.get(host.dut.control.irq) == 0
        assert await host.run(ctx) == DONE

    host.simulate(testbench)
