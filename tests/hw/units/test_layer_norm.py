"""Square root, reciprocal and LayerNorm against the golden model."""

import math
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.delay import delayed
from hw.units.isqrt import IntegerSquareRoot
from hw.units.layer_norm import COUNT_MAX, LayerNormCore
from hw.units.reciprocal import INVERSE_BITS, Reciprocal
from sim.golden.layernorm import layernorm
from tests.hw.units.drive import plain, simulate
from tests.support.tamper import constant, tampered


def run_sequential(dut, port, cycles, values, result):
    """Results of one computation after another; each must end exactly ``cycles`` after its start."""
    results = []

    async def testbench(ctx):
        for value in values:
            ctx.set(getattr(dut, port), value)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(getattr(dut, port), 1)
            for _ in range(cycles - 1):
                assert not ctx.get(dut.done)
                await ctx.tick()
            assert ctx.get(dut.done)
            results.append(ctx.get(getattr(dut, result)))
            if value % 3 == 0:
                await ctx.tick()
                assert not ctx.get(dut.done)
                assert ctx.get(getattr(dut, result)) == results[-1]

    simulate(dut, testbench)
    return results


@pytest.mark.parametrize("bits", [1, 2, 7, 8, 39])
def test_isqrt(bits):
    rng = random.Random(bits)
    dut = IntegerSquareRoot(bits)
    roots = [rng.randrange(1 << dut.root_bits) for _ in range(40)]
    values = [0, 1, 2, 3, 4, (1 << bits) - 1, *(r * r + d for r in roots for d in (-1, 0, 1, 2 * r))]
    values = list(range(1 << bits)) if bits <= 8 else [v for v in values if 0 <= v < 1 << bits]
    assert run_sequential(dut, "value", dut.cycles, values, "root") == [math.isqrt(v) for v in values]


def test_reciprocal():
    rng = random.Random(9)
    bits = 20
    values = [1, 2, 3, 63, 64, 65, 1023, 1024, (1 << bits) - 1, 1 << (bits - 1)]
    values += [rng.randrange(1, 1 << rng.randrange(1, bits + 1)) for _ in range(60)]
    got = run_sequential(Reciprocal(bits), "divisor", Reciprocal.cycles, values, "inverse")
    assert got == [min((1 << 30) // v, (1 << INVERSE_BITS) - 1) for v in values]


def a_computation_can_be_restarted(dut, port, cycles, result, first, second):
    got = []

    async def testbench(ctx):
        for value, wait in ((first, cycles - 3), (second, cycles)):
            ctx.set(getattr(dut, port), value)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(wait - 1):
                assert not ctx.get(dut.done)
                await ctx.tick()
        assert ctx.get(dut.done)
        got.append(ctx.get(getattr(dut, result)))

    simulate(dut, testbench)
    return got[0]


def test_a_computation_can_be_restarted():
    isqrt = IntegerSquareRoot(16)
    assert a_computation_can_be_restarted(isqrt, "value", isqrt.cycles, "root", 12345, 10000) == 100
    assert a_computation_can_be_restarted(Reciprocal(16), "divisor", Reciprocal.cycles, "inverse", 777, 1000) == (1 << 30) // 1000


def vectors(rng):
    """Vectors that are short, long, constant, alternating between the extremes, or nearly constant."""
    yield rng.integers(-128, 128, 1)
    yield np.full(13, -128)
    yield np.full(64, 127)
    yield np.zeros(5, np.int64)
    yield np.where(np.arange(24) == 7, 127, -128)
    yield np.where(np.arange(COUNT_MAX) % 2, 127, -128)
    yield np.where(np.arange(COUNT_MAX) == 3, 127, -128)
    yield np.where(np.arange(1500) == 1499, -128, 127)
    for length in (2, 3, 7, 8, 16, 31, 100, 384):
        spread = rng.choice([1, 2, 20, 128])
        yield rng.integers(-spread, spread, length)


def drive_vectors(unit: type[LayerNormCore], config: AcceleratorConfig, runs: Iterable[NDArray[Any]], gap: float) -> list[int]:
    """The largest accumulator of each run of vectors, int8 ``[vectors][count]``, all of which must be the golden model's.

    A phase's words come in the same cycles, without a pause between two phases but for the deviation, and for every gap.
    """
    rng = np.random.default_rng(10)
    dut, size, largest = unit(config), config.m, []

    async def run(ctx: Any, vectors: NDArray[Any]) -> None:
        number, count = vectors.shape
        gamma = rng.choice([-1023, 1023, 0, 1, -1], count) if count % 2 else rng.integers(-1023, 1024, count)
        expected = layernorm(vectors.astype(np.int8), gamma)
        padding = -count % size
        # What lies beyond the last channel must not count, whatever it is.
        beyond = rng.integers(-128, 128, (number, padding))
        words = np.concatenate([vectors, beyond], axis=1).reshape(number, -1, size).tolist()
        gammas = np.concatenate([gamma, np.zeros(padding, np.int64)]).reshape(-1, size).tolist()
        depth = len(gammas)
        got: list[Any] = []
        due: list[int] = []
        cycle, known = 0, -1

        async def tick() -> None:
            nonlocal cycle
            assert ctx.get(dut.o_valid) == (cycle in due[len(got) : len(got) + 1])
            if ctx.get(dut.o_valid):
                got.append(plain(ctx.get(dut.o)))
            assert ctx.get(dut.done) == (cycle == known)
            await ctx.tick()
            cycle += 1

        ctx.set(dut.count, count)
        for phase in range(number + 2):
            sums, norms = phase < number, phase >= 2
            for k in range(depth) if sums or norms else [depth - 1]:
                last = k == depth - 1
                for name in ("sum_valid", "norm_valid", "last"):
                    ctx.set(getattr(dut, name), 0)
                while rng.random() < gap or (last and cycle <= known):
                    await tick()
                ctx.set(dut.sum_valid, sums)
                ctx.set(dut.norm_valid, norms)
                ctx.set(dut.last, last)
                ctx.set(dut.sum_first, k == 0)
                ctx.set(dut.sum_word, words[phase if sums else 0][k])
                ctx.set(dut.sum_lanes, (1 << min(size, count - k * size)) - 1)
                ctx.set(dut.norm_word, words[phase - 2 if norms else 0][k])
                ctx.set(dut.norm_gamma, gammas[k])
                if norms:
                    due.append(cycle + dut.latency)
                if sums and last:
                    known = cycle + dut.deviation_cycles
                await tick()
        for name in ("sum_valid", "norm_valid", "last"):
            ctx.set(getattr(dut, name), 0)
        for _ in range(dut.latency + 3):
            await tick()
        found = np.array(got).reshape(number, -1)
        assert found[:, :count].tolist() == expected.tolist(), f"vectors of {count}"
        assert not found[:, count:].any()
        largest.append(int(np.abs(expected).max()))

    async def testbench(ctx: Any) -> None:
        for vectors in runs:
            await run(ctx, vectors)

    simulate(dut, testbench)
    return largest


@pytest.mark.parametrize("config", [TOY, ZCU102], ids=lambda c: c.name)
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_layer_norm(config, gap):
    runs = [vector[None] for vector in vectors(np.random.default_rng(10)) if not gap or vector.size <= 2000]
    largest = drive_vectors(LayerNormCore, config, runs, gap)
    assert max(largest) > 1 << 22 and 0 in largest


def neighbours(rng: np.random.Generator, number: int, count: int) -> NDArray[Any]:
    """Vectors of very different sums and deviations."""
    ranges = rng.permutation(RANGES)[np.arange(number) % len(RANGES)]
    return np.stack([rng.integers(low, high, count) for low, high in ranges])


#: Ranges of elements.
RANGES = np.array([(-128, 128), (-3, 3), (100, 128), (-128, -90), (0, 1), (60, 61)])


@pytest.mark.parametrize("gap", [0.0, 0.3])
@pytest.mark.parametrize("count", [1, 5, 61, 640])
def test_vectors_one_after_the_other(count, gap):
    """One vector's sums beside another one's second pass; a single word a vector, and more than the deviation takes cycles."""
    rng = np.random.default_rng(count)
    drive_vectors(LayerNormCore, ZCU102, [neighbours(rng, number, count) for number in (1, 2, 5)], gap)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 5), st.integers(1, 400), st.sampled_from((0.0, 0.2)), st.integers(0, 1 << 16))
def test_any_vectors(number, count, gap, seed):
    rng = np.random.default_rng(seed)
    drive_vectors(LayerNormCore, TOY, [neighbours(rng, number, count), neighbours(rng, 1, 9)], gap)


#: What the core may get wrong about where a vector begins and ends.
PHASE_BUGS: dict[str, type[LayerNormCore]] = {
    "sums not begun anew": tampered(LayerNormCore, sum_first=constant(0)),
    "sums begun anew with every word": tampered(LayerNormCore, sum_first=constant(1)),
    "factors of the vector before": tampered(LayerNormCore, last=constant(0)),
    "factors with every word": tampered(LayerNormCore, last=constant(1)),
}


def held_too(cycles: int) -> Callable[..., Any]:
    """``delayed`` with the strobes that change the second pass's factors so many cycles too late, or too early."""

    def late(m: Any, value: Any, delay: int, name: str, *, reset: bool = False) -> Any:
        return delayed(m, value, delay + (cycles if name.startswith("last_") else 0), name, reset=reset)

    return late


@pytest.mark.parametrize("bug", [*PHASE_BUGS, -1, 1])
def test_a_planted_bug_in_the_phases_is_found(monkeypatch, bug):
    """The last two: the factors change a cycle too early or too late."""
    if isinstance(bug, int):
        monkeypatch.setattr("hw.units.layer_norm.delayed", held_too(bug))
    rng = np.random.default_rng(3)
    with pytest.raises(AssertionError):
        drive_vectors(PHASE_BUGS.get(bug, LayerNormCore), TOY, [neighbours(rng, 4, 301)], 0.0)
