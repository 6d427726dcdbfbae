"""Square root, reciprocal and LayerNorm against the golden model."""

import math
import random

import numpy as np
import pytest

from hw.config import TOY, ZCU102
from hw.units.isqrt import IntegerSquareRoot
from hw.units.layer_norm import COUNT_MAX, LayerNormCore
from hw.units.reciprocal import INVERSE_BITS, Reciprocal
from sim.golden.layernorm import layernorm
from tests.hw.units.drive import plain, simulate


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


@pytest.mark.parametrize("config", [TOY, ZCU102], ids=lambda c: c.name)
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_layer_norm(config, gap):
    rng = np.random.default_rng(10)
    dut = LayerNormCore(config)
    size = config.m
    largest = []

    async def testbench(ctx):
        for vector in vectors(rng):
            if gap and vector.size > 2000:
                continue
            count = vector.size
            gamma = rng.choice([-1023, 1023, 0, 1, -1], count) if count % 2 else rng.integers(-1023, 1024, count)
            expected = layernorm(vector[None].astype(np.int8), gamma)[0]
            padding = -count % size
            # What lies beyond the last channel must not count, whatever it is.
            words = np.concatenate([vector, rng.integers(-128, 128, padding)]).reshape(-1, size).tolist()
            gammas = np.concatenate([gamma, np.zeros(padding, np.int64)]).reshape(-1, size).tolist()
            lanes = [(1 << min(size, count - k * size)) - 1 for k in range(len(words))]
            ctx.set(dut.count, count)
            ctx.set(dut.clear, 1)
            separate = rng.random() < 0.5
            if separate:
                await ctx.tick()
                ctx.set(dut.clear, 0)
                assert not ctx.get(dut.ready)
            for k, word in enumerate(words):
                while rng.random() < gap:
                    ctx.set(dut.sum_valid, 0)
                    await ctx.tick()
                    ctx.set(dut.clear, 0)
                ctx.set(dut.sum_valid, 1)
                ctx.set(dut.sum_word, word)
                ctx.set(dut.sum_lanes, lanes[k])
                with_last = k == len(words) - 1 and not separate
                ctx.set(dut.finish, with_last)
                await ctx.tick()
                ctx.set(dut.clear, 0)
            ctx.set(dut.sum_valid, 0)
            ctx.set(dut.finish, separate)
            if separate:
                await ctx.tick()
            ctx.set(dut.finish, 0)
            for _ in range(dut.finish_cycles - 1):
                assert not ctx.get(dut.ready)
                await ctx.tick()
            assert ctx.get(dut.ready)

            got, due, k, cycle = [], [], 0, 0
            while len(got) < len(words):
                valid = k < len(words) and rng.random() >= gap
                ctx.set(dut.norm_valid, valid)
                if valid:
                    ctx.set(dut.norm_word, words[k])
                    ctx.set(dut.norm_gamma, gammas[k])
                    due.append(cycle + dut.latency)
                    k += 1
                assert ctx.get(dut.o_valid) == (cycle in due[len(got):len(got) + 1])
                if ctx.get(dut.o_valid):
                    got.append(plain(ctx.get(dut.o)))
                await ctx.tick()
                cycle += 1
            assert ctx.get(dut.ready)
            assert np.array(got).reshape(-1)[:count].tolist() == expected.tolist(), f"a vector of {count}"
            assert not any(np.array(got).reshape(-1)[count:])
            largest.append(int(np.abs(expected).max()))

    simulate(dut, testbench)
    assert max(largest) > 1 << 22 and 0 in largest
