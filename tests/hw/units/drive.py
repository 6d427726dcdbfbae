"""Drives a pipeline with one vector a cycle and collects what comes out ``latency`` cycles later."""

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.lib import data, wiring
from amaranth.sim import Simulator, SimulatorContext

PERIOD = 1e-6


def simulate(dut: wiring.Component, testbench: Any) -> None:
    """Run one testbench to its end."""
    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(testbench)
    simulator.run()


def plain(value: Any) -> Any:
    """A sampled array layout as nested lists of integers."""
    if isinstance(value, data.Const) and isinstance(value.shape(), data.ArrayLayout):
        return [plain(value[i]) for i in range(value.shape().length)]
    return int(value)


def stream_through(
    dut: wiring.Component,
    latency: int,
    vectors: Sequence[Mapping[str, Any]],
    outputs: Sequence[str],
    late: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """The outputs for each vector, when a new vector enters every cycle and is sampled exactly ``latency`` cycles later.

    Inputs named in ``late`` enter that many cycles after the others.
    """
    results: list[dict[str, Any]] = []
    late = late or {}

    async def testbench(ctx: SimulatorContext) -> None:
        for cycle in range(len(vectors) + latency):
            for name in vectors[0]:
                entering = cycle - late.get(name, 0)
                if 0 <= entering < len(vectors):
                    ctx.set(getattr(dut, name), vectors[entering][name])
            if cycle >= latency:
                results.append({name: plain(ctx.get(getattr(dut, name))) for name in outputs})
            await ctx.tick()

    simulate(dut, testbench)
    return results


def settle(dut: wiring.Component, vectors: Sequence[Mapping[str, Any]], outputs: Sequence[str]) -> list[dict[str, Any]]:
    """The outputs of a unit without registers for each vector."""
    results: list[dict[str, Any]] = []

    async def testbench(ctx: SimulatorContext) -> None:
        for vector in vectors:
            for name, value in vector.items():
                ctx.set(getattr(dut, name), value)
            results.append({name: plain(ctx.get(getattr(dut, name))) for name in outputs})

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()
    return results
