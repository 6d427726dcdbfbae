"""The whole accelerator behind its two buses: a run that fails, whatever the cause, leaves nothing behind for the next one."""

from types import SimpleNamespace

import numpy as np
import pytest

from hw.compiler.compile import compile_network
from hw.compiler.program import PAGE
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


@pytest.mark.parametrize("pictures", [1, 2])
def test_every_failed_run_is_followed_by_a_good_one(pictures):
    """Of several pictures the last one's beats fail: in the middle of the run, while results of the first are written."""
    net = NetworkBuilder(1, 8, 12)
    net.pw("pw", net.stem(5), 11)
    artifact = net.artifact()
    given = np.random.default_rng(0).integers(0, 256, (pictures, *artifact.input_shape)).astype(np.uint8)
    program = compile_network(artifact, TOY, pictures)
    expected = GoldenModel(artifact).run(given).tensors[program.output]
    expected = expected.reshape(*expected.shape[:2], -1)

    dut = Accelerator(TOY)
    memory = AxiMemory(bus(dut, "m_axi_"), bytearray(SIZE), rate=0.2)
    host = LiteMaster(bus(dut, "s_axi_"))
    good = bytes(program.descriptors).ljust(WEIGHTS, b"\0") + bytes(program.weights).ljust(PICTURE - WEIGHTS, b"\0")
    good += b"".join(picture.transpose(1, 2, 0).tobytes().ljust(PAGE, b"\0") for picture in given)
    beat, last = TOY.beat_bytes, (pictures - 1) * PAGE

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
        for index, one in enumerate(expected):
            first = RESULT + index * PAGE
            rows = np.frombuffer(bytes(memory.memory[first:first + program.output_bytes]), "<i2").reshape(place.groups, -1, TOY.m)
            got = rows.transpose(0, 2, 1).reshape(place.groups * TOY.m, -1)[:one.shape[0], :one.shape[1]]
            assert (got == one).all()

    async def testbench(ctx):
        await write(ctx, "PROGRAM_COUNT", program.descriptor_count)
        await write(ctx, "WATCHDOG", 400)
        await write(ctx, "WEIGHTS_REPEATED", program.repeated_beats)
        await write(ctx, "WEIGHTS_PASSES", pictures)
        for name, address in (("PROGRAM", PROGRAM), ("WEIGHTS", WEIGHTS), ("INPUT", PICTURE), ("OUTPUT", RESULT)):
            await write(ctx, f"{name}_ADDR_LO", address)
        await check(ctx)
        assert await run(ctx, garbage=WEIGHTS) is ErrorCode.BAD_WEIGHTS
        await check(ctx)
        assert await run(ctx, garbage=PROGRAM + 2 * 64) is ErrorCode.BAD_MAGIC
        assert await run(ctx, bad=(PICTURE + last + beat,)) is ErrorCode.AXI_READ
        await check(ctx)
        assert await run(ctx, bad=(RESULT + last,)) is ErrorCode.AXI_WRITE
        # Without its last beat the stream ends too early, or its second pass begins with what is missing of the first one.
        assert await run(ctx, missing=1) is (ErrorCode.WATCHDOG if pictures == 1 else ErrorCode.BAD_WEIGHTS)
        await check(ctx)

    simulate(dut, testbench, background=[*memory.reading(), *memory.writing()])
