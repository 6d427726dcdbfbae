"""What the simulations of streams and buses share: a run with a cycle limit, counted random stalls, sources and sinks."""

import random
from collections.abc import Callable, Iterable

from amaranth.hdl import Value
from amaranth.sim import Simulator


def simulate(dut: object, *testbenches: Callable, background: Iterable[Callable] = (), cycles: int = 100_000) -> None:
    """Run until every testbench has returned; fail after ``cycles`` clock cycles."""
    sim = Simulator(dut)
    sim.add_clock(1e-8)

    async def limit(ctx):
        for _ in range(cycles):
            await ctx.tick()
        raise AssertionError(f"not finished after {cycles} cycles")

    for testbench in testbenches:
        sim.add_testbench(testbench)
    for testbench in (*background, limit):
        sim.add_testbench(testbench, background=True)
    sim.run()


class Stalls:
    """Random pauses that come in spells, so that both full speed and long stalls happen; ``count`` is the cycles lost."""

    def __init__(self, seed: int, rate: float = 0.3, spell: int = 40):
        self._rng = random.Random(seed)
        self._rate, self._spell = rate, spell
        self._left, self._now = 0, 0.0
        self.count = 0

    def __call__(self) -> bool:
        """Whether to pause in this cycle."""
        if self._rate == 0:
            return False
        if self._left == 0:
            self._left = self._rng.randint(1, self._spell)
            self._now = self._rng.choice((0.0, self._rate, min(1.0, 2 * self._rate), 0.95))
        self._left -= 1
        stall = self._rng.random() < self._now
        self.count += stall
        return stall


async def send(ctx, port, values: Iterable, stalls: Stalls, blocked: list | None = None) -> None:
    """Put ``values`` (plain integers: as raw bits) on a stream; refused ones are appended to ``blocked``, once a cycle."""
    for value in values:
        while stalls():
            await ctx.tick()
        ctx.set(port.valid, 1)
        ctx.set(Value.cast(port.payload) if isinstance(value, int) else port.payload, value)
        while True:
            *_, ready = await ctx.tick().sample(port.ready)
            if ready:
                break
            if blocked is not None:
                blocked.append(value)
        ctx.set(port.valid, 0)


async def receive(ctx, port, count: int, stalls: Stalls, starved: list | None = None) -> list:
    """Take ``count`` values from a stream, check that a refused one stays; empty cycles are appended to ``starved``."""
    values: list = []
    held = None
    while len(values) < count:
        ready = not stalls()
        ctx.set(port.ready, ready)
        *_, valid, payload = await ctx.tick().sample(port.valid, port.payload)
        if held is not None:
            assert valid, "valid fell without ready"
            assert payload == held, "the payload changed while it waited"
        held = payload if valid and not ready else None
        if valid and ready:
            values.append(payload)
        elif not valid and starved is not None:
            starved.append(len(values))
    ctx.set(port.ready, 0)
    return values
