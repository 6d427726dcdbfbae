"""An AXI4 slave for simulations: a bytearray behind random latency, stalls and injected errors, that also checks the rules."""

from collections import deque

from amaranth.utils import ceil_log2

from hw.axi.signature import BOUNDARY, Burst, Response
from tests.hw.axi.harness import Stalls


class AxiMemory:
    """Answers the read half, the write half or both of a port: ``reading()`` and ``writing()`` are the background testbenches.

    Parameters
    ----------
    port :
        The design's AXI4 master port.
    memory :
        What is read and written.
    seed, rate :
        Of the random stalls on each channel.
    latency :
        Cycles from an address to its first beat.
    bad :
        Byte addresses whose beats (or bursts, for writes) are answered with SLVERR.
    """

    def __init__(self, port: object, memory: bytearray, seed: int = 0, rate: float = 0.3, latency: int = 5,
                 bad: tuple[int, ...] = ()):
        self.port, self.memory, self.latency, self.bad = port, memory, latency, bad
        self.stalls = {name: Stalls(seed * 7 + index, rate) for index, name in enumerate(("ar", "r", "aw", "w", "b"))}
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []
        self.most_outstanding = 0
        self.beats_read = 0
        self.refused = 0
        self._now = 0
        self._pending: deque[tuple[int, int, bool]] = deque()
        self._bursts: deque[tuple[int, int]] = deque()
        self._answers: deque[tuple[int, int]] = deque()

    def _check(self, address: int, beats: int, size: int, burst: int, width: int) -> None:
        assert size == ceil_log2(width)
        assert burst == Burst.INCR
        assert address % width == 0
        assert address // BOUNDARY == (address + beats * width - 1) // BOUNDARY, f"burst at {address:#x} crosses 4 KB"
        assert address + beats * width <= len(self.memory), f"burst at {address:#x} leaves the memory"

    async def addresses(self, ctx):
        """The read address channel."""
        port = self.port
        width, waiting = len(port.rdata) // 8, None
        while True:
            ready = not self.stalls["ar"]()
            ctx.set(port.arready, ready)
            *_, valid, address, length, size, burst = await ctx.tick().sample(
                port.arvalid, port.araddr, port.arlen, port.arsize, port.arburst)
            self._now += 1
            if waiting:
                assert valid and (address, length) == waiting, "the address channel changed before it was ready"
            waiting = (address, length) if valid and not ready else None
            if valid and ready:
                self._check(address, length + 1, size, burst, width)
                self.reads.append((address, length + 1))
                for beat in range(length + 1):
                    self._pending.append((address + beat * width, self._now + self.latency, beat == length))
                self.most_outstanding = max(self.most_outstanding, sum(last for _, _, last in self._pending))

    async def data(self, ctx):
        """The read data channel."""
        port = self.port
        width = len(port.rdata) // 8
        while True:
            if not self._pending or self._pending[0][1] > self._now or self.stalls["r"]():
                ctx.set(port.rvalid, 0)
                await ctx.tick()
                continue
            address, _, last = self._pending[0]
            ctx.set(port.rvalid, 1)
            ctx.set(port.rdata, int.from_bytes(self.memory[address:address + width], "little"))
            ctx.set(port.rlast, last)
            ctx.set(port.rresp, Response.SLVERR if any(address <= at < address + width for at in self.bad) else Response.OKAY)
            while True:
                *_, ready = await ctx.tick().sample(port.rready)
                if ready:
                    break
                self.refused += 1
            self._pending.popleft()
            self.beats_read += 1
            ctx.set(port.rvalid, 0)

    async def write_addresses(self, ctx):
        """The write address channel."""
        port = self.port
        width = len(port.wdata) // 8
        while True:
            ready = not self.stalls["aw"]()
            ctx.set(port.awready, ready)
            *_, valid, address, length, size, burst = await ctx.tick().sample(
                port.awvalid, port.awaddr, port.awlen, port.awsize, port.awburst)
            if valid and ready:
                self._check(address, length + 1, size, burst, width)
                self.writes.append((address, length + 1))
                self._bursts.append((address, length + 1))

    async def write_data(self, ctx):
        """The write data channel."""
        port = self.port
        width, done = len(port.wdata) // 8, 0
        while True:
            ready = bool(self._bursts) and not self.stalls["w"]()
            ctx.set(port.wready, ready)
            *_, valid, word, strobe, last = await ctx.tick().sample(port.wvalid, port.wdata, port.wstrb, port.wlast)
            if valid and ready:
                address, beats = self._bursts[0]
                assert strobe == (1 << width) - 1
                assert last == (done == beats - 1)
                self.memory[address + done * width:address + (done + 1) * width] = word.to_bytes(width, "little")
                done += 1
                if last:
                    self._answers.append(self._bursts.popleft())
                    done = 0

    async def responses(self, ctx):
        """The write response channel."""
        port = self.port
        width = len(port.wdata) // 8
        while True:
            if not self._answers or self.stalls["b"]():
                ctx.set(port.bvalid, 0)
                await ctx.tick()
                continue
            address, beats = self._answers[0]
            bad = any(address <= at < address + beats * width for at in self.bad)
            ctx.set(port.bvalid, 1)
            ctx.set(port.bresp, Response.SLVERR if bad else Response.OKAY)
            while True:
                *_, ready = await ctx.tick().sample(port.bready)
                if ready:
                    break
            self._answers.popleft()
            ctx.set(port.bvalid, 0)

    @property
    def idle(self) -> bool:
        """Nothing asked that has not been answered."""
        return not (self._pending or self._bursts or self._answers)

    def reading(self) -> list:
        """The background testbenches of the read half."""
        return [self.addresses, self.data]

    def writing(self) -> list:
        """The background testbenches of the write half."""
        return [self.write_addresses, self.write_data, self.responses]
