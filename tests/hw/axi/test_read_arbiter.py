"""Several readers behind one arbiter."""

import random

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.axi.linear_reader import LinearReader
from hw.axi.read_arbiter import ReadArbiter
from hw.axi.signature import AxiRead
from hw.config import TOY
from tests.hw.axi.axi_memory import AxiMemory
from tests.hw.axi.harness import Stalls, receive, simulate


class Shared(wiring.Component):
    """Three readers on one bus."""

    def __init__(self, outstanding: int):
        self.readers = [LinearReader(TOY) for _ in range(3)]
        self.arbiter = ReadArbiter(TOY, 3, outstanding)
        super().__init__({"axi": Out(AxiRead(TOY))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.arbiter = self.arbiter
        for index, reader in enumerate(self.readers):
            m.submodules[f"reader_{index}"] = reader
            wiring.connect(m, reader.axi, self.arbiter.clients[index])
        wiring.connect(m, self.arbiter.axi, wiring.flipped(self.axi))
        return m


def run(outstanding: int, rate: float) -> tuple[AxiMemory, list[Stalls], list[int]]:
    dut = Shared(outstanding)
    memory = AxiMemory(dut.axi, bytearray(random.Random(9).randbytes(1 << 15)), seed=outstanding, rate=rate)
    stalls = [Stalls(index, rate) for index in range(3)]
    finished: list[int] = []

    def client(index: int):
        async def testbench(ctx):
            reader, beats, address = dut.readers[index], (150, 90, 150)[index], 8192 * index + 32
            ctx.set(reader.address, address)
            ctx.set(reader.beats, beats)
            ctx.set(reader.start, 1)
            await ctx.tick()
            ctx.set(reader.start, 0)
            got = await receive(ctx, reader.o, beats, stalls[index])
            assert b"".join(word.to_bytes(16, "little") for word in got) == memory.memory[address:address + 16 * beats]
            finished.append(index)

        return testbench

    simulate(dut, *(client(index) for index in range(3)), background=memory.reading())
    return memory, stalls, finished


def test_every_client_gets_its_own_data_under_stalls():
    for outstanding in (1, 4, 16):
        memory, stalls, _ = run(outstanding, 0.4)
        assert all(one.count > 10 for one in stalls)
        assert memory.stalls["r"].count > 10
        assert memory.most_outstanding <= outstanding


def test_turns_are_fair():
    memory, _, finished = run(16, 0)
    owners = [address // 8192 for address, _ in memory.reads]
    assert owners[:18] == [owners[0], owners[1], owners[2]] * 6
    assert finished[0] == 1
