"""The whole accelerator behind its two buses: a run that fails, whatever the cause, leaves nothing behind for the next one."""

from types import SimpleNamespace

import numpy as np

from hw.compiler.compile import compile_network
from hw.config import TOY
from hw.control.errors import ErrorCode
from hw.control.register_map import register_map
from hw.top import Accelerator
from sim.golden.model import GoldenModel
from tests.hw.axi.axi_memory import AxiMemory
from tests.hw.axi.harness import simulate
from tests.hw.axi.lite_master import LiteMaster
from tests.support.networks import NetworkBuilder

PROGRAM, WEIGHTS, PICTURE, RESULT, SIZE = 0, 0x4000, 0x20000, 0x30000, 0x38000
OFFSET = {register.name: register.offset for register in register_map(TOY)}
DONE, ERROR = 2, 4


def bus(dut: Accelerator, prefix: str) -> SimpleNamespace:
    """The flat ports of a bus by their conventional names."""
    names = [name for name in dut.signature.members if name.startswith(prefix)]
    return SimpleNamespace(**{name.removeprefix(prefix): getattr(dut, name) for name in names})


def test_every_failed_run_is_followed_by_a_good_one():
    net = NetworkBuilder(1, 8, 12)
    net.pw("pw", net.stem(5), 11)
    artifact = net.artifact()
    picture = np.random.default_rng(0).integers(0, 256, artifact.input_shape).astype(np.uint8)
    program = compile_network(artifact, TOY)
    expected = GoldenModel(artifact).run(picture[None]).tensors[program.output][0]
    expected = expected.reshape(expected.shape[0], -1)

    dut = Accelerator(TOY)
    memory = AxiMemory(bus(dut, "m_axi_"), bytearray(SIZE), rate=0.2)
    host = LiteMaster(bus(dut, "s_axi_"))
    good = bytes(program.descriptors).ljust(WEIGHTS, b"\0") + bytes(program.weights).ljust(PICTURE - WEIGHTS, b"\0")
    good += picture.transpose(1, 2, 0).tobytes()
    beat = TOY.beat_bytes

    async def write(ctx, name: str, value: int) -> None:
        assert await host.write(ctx, OFFSET[name], value) == 0

    async def read(ctx, name: str) -> int:
        return (await host.read(ctx, OFFSET[name]))[0]

    async def run(ctx, *, bad: tuple[int, ...] = (), garbage: int | None = None, missing: int = 0) -> ErrorCode:
        memory.bad = bad
        memory.memory[:] = good.ljust(SIZE, b"\0")
        if garbage is not None:
            memory.memory[garbage] ^= 0xFF
        await write(ctx, "WEIGHTS_BEATS", program.weight_beats - missing)
        await write(ctx, "CTRL", 5)
        while not ctx.get(dut.irq):
            await ctx.tick()
        while (status := await read(ctx, "STATUS")) & 1:
            pass
        assert memory.idle
        code = ErrorCode(await read(ctx, "ERROR") & 0xFFFF)
        assert status == (DONE if code is ErrorCode.NONE else ERROR)
        return code

    async def check(ctx) -> None:
        assert await run(ctx) is ErrorCode.NONE
        place = program.places[program.output]
        rows = np.frombuffer(bytes(memory.memory[RESULT:RESULT + program.output_bytes]), "<i2").reshape(place.groups, -1, TOY.m)
        got = rows.transpose(0, 2, 1).reshape(place.groups * TOY.m, -1)[:expected.shape[0], :expected.shape[1]]
        assert (got == expected).all()

    async def testbench(ctx):
        await write(ctx, "PROGRAM_COUNT", program.descriptor_count)
        await write(ctx, "WATCHDOG", 400)
        for name, address in (("PROGRAM", PROGRAM), ("WEIGHTS", WEIGHTS), ("INPUT", PICTURE), ("OUTPUT", RESULT)):
            await write(ctx, f"{name}_ADDR_LO", address)
        await check(ctx)
        assert await run(ctx, garbage=WEIGHTS) is ErrorCode.BAD_WEIGHTS
        await check(ctx)
        assert await run(ctx, garbage=PROGRAM + 2 * 64) is ErrorCode.BAD_MAGIC
        assert await run(ctx, bad=(PICTURE + beat,)) is ErrorCode.AXI_READ
        await check(ctx)
        assert await run(ctx, bad=(RESULT,)) is ErrorCode.AXI_WRITE
        assert await run(ctx, missing=1) is ErrorCode.WATCHDOG
        await check(ctx)

    simulate(dut, testbench, background=[*memory.reading(), *memory.writing()])
