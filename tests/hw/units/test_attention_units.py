"""Log2, row sums and the divisor buffer against the golden arithmetic."""

import random

import numpy as np
import pytest

from hw.config import TOY, ZCU102
from hw.units.divisor_buffer import DivisorBuffer
from hw.units.log2 import DIVISOR_BITS, Log2
from hw.units.row_sum import RowSum
from quant.contract import CODE_BITS
from sim.golden import arithmetic
from tests.hw.units.drive import plain, simulate, stream_through

NARROW = TOY.with_(name="narrow", divisor_rows=2)


def test_log2():
    rng = random.Random(4)
    edges = {v for k in range(DIVISOR_BITS) for v in (1 << k, (1 << k) - 1, 3 << k >> 1, (3 << k >> 1) - 1)}
    anywhere = (rng.randrange(1 << rng.randrange(1, DIVISOR_BITS)) for _ in range(500))
    divisors = [d for d in (*sorted(edges), *range(300), (1 << DIVISOR_BITS) - 1, *anywhere) if d < 1 << DIVISOR_BITS]
    vectors = [{"d": d, "div_min": m} for d in divisors for m in (0, 5, rng.randrange(32), 31)]
    got = [out["code"] for out in stream_through(Log2(), Log2.latency, vectors, ["code"])]
    field = {name: np.array([v[name] for v in vectors], dtype=np.int64) for name in ("d", "div_min")}
    assert got == arithmetic.log2_code(field["d"], field["div_min"]).tolist()
    assert set(got) == set(range(1 << CODE_BITS))


@pytest.mark.parametrize("config", [TOY, ZCU102], ids=lambda c: c.name)
def test_row_sum(config):
    rng = random.Random(5)
    dut = RowSum(config)
    beats, expected, total, index, length = [], {}, np.zeros(config.m, np.int64), 0, 1
    relu, extreme, kinds = False, None, set()
    for cycle in range(400):
        valid = rng.random() < 0.8
        if valid and index == 0:
            length, relu, extreme = rng.choice([1, 2, 3, 20]), rng.random() < 0.5, rng.choice([None, None, -128, 127])
            kinds.add((relu, extreme))
        low, high = (-128, 127) if extreme is None else (extreme, extreme)
        word = np.array([[rng.randint(low, high) for _ in range(config.m)] for _ in range(config.l)])
        lanes = rng.choice([(1 << config.l) - 1, rng.randrange(1 << config.l)])
        first, last = index == 0, index == length - 1
        beats.append({
            "valid": valid, "words": word.tolist(), "lanes": lanes, "relu": relu, "first": first, "last": last,
        })
        if valid:
            kept = (arithmetic.relu(word) if relu else word) * np.array([[lanes >> i & 1] for i in range(config.l)])
            total = kept.sum(axis=0) + (0 if first else total)
            if last:
                expected[cycle] = total.tolist()
            index = 0 if last else index + 1
    got = stream_through(dut, dut.latency, beats, ["o_valid", "sums"])
    assert {cycle: out["sums"] for cycle, out in enumerate(got) if out["o_valid"]} == expected
    assert len(expected) > 40 and len(kinds) > 4


@pytest.mark.parametrize("config", [NARROW, TOY, ZCU102], ids=lambda c: c.name)
def test_divisor_buffer(config):
    rng = random.Random(6)
    dut = DivisorBuffer(config)
    lanes, depth = config.l, config.divisor_rows
    codes = [[rng.randrange(16) for _ in range(lanes)] for _ in range(depth)]

    async def testbench(ctx):
        rows = list(range(depth))
        rng.shuffle(rows)
        for row in rows:
            ctx.set(dut.write_valid, 1)
            ctx.set(dut.write_row, row)
            ctx.set(dut.write_codes, codes[row])
            await ctx.tick()
        # Without its strobe a write does nothing.
        ctx.set(dut.write_valid, 0)
        ctx.set(dut.write_codes, [(code + 1) % 16 for code in codes[rows[-1]]])
        # The row written last is asked for first, in the very next cycle.
        every = lanes.bit_length() - 1
        requests = [(rows[-1], 0, every)]
        for _ in range(300):
            split = rng.randrange(every + 1)
            requests.append((rng.randrange(depth), rng.randrange(lanes >> split) << split, split))
        assert {split for *_, split in requests} == set(range(every + 1))
        for cycle in range(len(requests) + dut.latency):
            if cycle < len(requests):
                row, px, split = requests[cycle]
                ctx.set(dut.read_row, row)
                ctx.set(dut.read_px, px)
                ctx.set(dut.read_split, split)
            if cycle >= dut.latency:
                row, px, split = requests[cycle - dut.latency]
                expected = [codes[row][px + i % (1 << split)] for i in range(lanes)]
                assert plain(ctx.get(dut.read_codes)) == expected, (row, px, split)
            await ctx.tick()

    simulate(dut, testbench)
