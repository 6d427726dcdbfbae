"""Log2, row sums, the divisor buffer and what its codes mean, against the golden arithmetic."""

import random

import numpy as np
import pytest

from hw.config import TOY, ZCU102
from hw.units.divisor_buffer import DivisorBuffer
from hw.units.divisor_code import DivisorCode
from hw.units.joined_sums import JoinedSums
from hw.units.log2 import DIVISOR_BITS, FULL_CODE_BITS, Log2
from hw.units.row_sum import RowSum
from hw.units.split_sum import SplitSum
from quant.contract import ACC_BITS, CODE_BITS, CODE_WIDTHS, FRACTION_BITS, LOW_BITS, QUOTIENT_SHIFT, RECIPROCAL_BITS, SUM_BITS
from sim.golden import arithmetic
from tests.hw.units.drive import plain, settle, simulate, stream_through
from tests.support.configs import FOUR_BY_EIGHT, FOUR_BY_SIXTEEN

NARROW = TOY.with_(name="narrow", divisor_rows=2)


@pytest.mark.parametrize("code_bits", CODE_WIDTHS)
def test_log2(code_bits):
    rng = random.Random(4)
    edges = {v for k in range(DIVISOR_BITS) for v in (1 << k, (1 << k) - 1, 3 << k >> 1, (3 << k >> 1) - 1)}
    anywhere = (rng.randrange(1 << rng.randrange(1, DIVISOR_BITS)) for _ in range(500))
    one = 1 << FRACTION_BITS
    fractions = (
        (one + f << k) + rest for f in range(one) for k in range(DIVISOR_BITS - FRACTION_BITS) for rest in (0, (1 << k) - 1)
    )
    divisors = [d for d in (*sorted(edges), *fractions, *range(300), (1 << DIVISOR_BITS) - 1, *anywhere) if d < 1 << DIVISOR_BITS]
    fine = int(code_bits > CODE_BITS)
    vectors = [{"d": d, "div_min": m, "fine": fine} for d in divisors for m in (0, 6, rng.randrange(32), 31)]
    got = [out["code"] for out in stream_through(Log2(), Log2.latency, vectors, ["code"])]
    field = {name: np.array([v[name] for v in vectors], dtype=np.int64) for name in ("d", "div_min")}
    assert got == arithmetic.log2_code(field["d"], field["div_min"], code_bits).tolist()
    assert set(got) == set(range(1 << code_bits))


def test_log2_of_both_kinds_in_turn():
    """The mode belongs to its divisor: each result is of the kind that was asked for with it."""
    rng = random.Random(7)
    vectors = [{"d": rng.randrange(1 << rng.randrange(1, 20)), "div_min": 3, "fine": rng.randrange(2)} for _ in range(200)]
    got = [out["code"] for out in stream_through(Log2(), Log2.latency, vectors, ["code"])]
    widths = [CODE_WIDTHS[v["fine"]] for v in vectors]
    assert got == [int(arithmetic.log2_code(np.int64(v["d"]), 3, bits)) for v, bits in zip(vectors, widths, strict=True)]


def test_what_a_code_means_to_a_quotient():
    """Both steps of section 7 with the unit's shift and reciprocal are the golden quotient, for every code of either width."""
    vectors = [
        {"code": code, "used": 1, "fine": int(bits > CODE_BITS)} for bits in CODE_WIDTHS for code in range(1 << bits)
    ]
    unused = [{"code": 0x3FF, "used": 0, "fine": fine} for fine in (0, 1)]
    got = settle(DivisorCode(), vectors + unused, ["shift", "reciprocal"])
    assert [out["shift"] for out in got[-2:]] == [0, 0]
    rng = np.random.default_rng(8)
    numerator = rng.integers(-(1 << 20), 1 << 20, (1, 2, 1, 50))
    mult, shift = rng.integers(20_000, 1 << 16, 2), np.array([5, 11])
    for vector, out in zip(vectors, got[:-2], strict=True):
        bits = CODE_WIDTHS[vector["fine"]]
        code = np.full((1, 2, 1, 50), vector["code"], np.uint16)
        t = arithmetic.sat(arithmetic.rs(numerator * mult[:, None, None], shift[:, None, None] + out["shift"]), 16)
        q = arithmetic.sat(arithmetic.rs(t * out["reciprocal"], QUOTIENT_SHIFT) if vector["fine"] else t, 8)
        assert (q == arithmetic.quotient(numerator, code, mult, shift, bits)).all(), vector
    assert max(out["reciprocal"] for out in got).bit_length() == RECIPROCAL_BITS


@pytest.mark.parametrize(
    "config",
    [TOY, ZCU102.with_(name="eight", l=8), FOUR_BY_EIGHT, FOUR_BY_SIXTEEN],
    ids=lambda c: c.name,
)
def test_joined_sums(config):
    """The sum over both parts is the sum over the whole, wherever its parts lie; what is not joined passes as it is."""
    rng = np.random.default_rng(9)
    slots, lanes, half = config.l, config.m, config.l // 2
    vectors, expected = [], []
    for kind in rng.permutation(np.arange(100) % 5):
        upper = rng.integers(-(1 << ACC_BITS - LOW_BITS - 2), 1 << ACC_BITS - LOW_BITS - 2, (slots, lanes))
        acc, rmac = rng.integers(-(1 << ACC_BITS - 2), 1 << ACC_BITS - 2, (2, slots, lanes))
        if kind == 4 and lanes == slots:
            kind = 3  # There are no sums over half of the pixels.
        from_rmac = kind >= 3
        want = [rmac if from_rmac else acc]
        if kind == 1:
            acc[:, 0] = upper[:, 0]
            want = [(acc[:, 0] << LOW_BITS) + acc[:, 1]]
        elif kind == 2:
            acc[:half] = upper[:half]
            want = [(acc[:half] << LOW_BITS) + acc[half:], acc[half:]]
        elif kind == 4:
            want = [rmac[:lanes] + rmac[half : half + lanes]]
        kinds = {"from_rmac": int(from_rmac), "apart": int(kind in (0, 3)), "by_slot": int(kind in (2, 4))}
        vectors.append({"mat": acc.tolist(), "rmac": rmac.tolist(), **kinds})
        expected.append(np.concatenate(want).tolist())
    got = [np.array(out["sums"]) for out in stream_through(JoinedSums(config), JoinedSums.latency, vectors, ["sums"])]
    for vector, out, want in zip(vectors, got, expected, strict=True):
        lanes_alone = vector["apart"] == vector["by_slot"]
        assert (out[:, 0] if lanes_alone else out[: len(want)]).tolist() == want


def test_split_sum():
    """Every ``t``: in so many bits and in two parts that give it again, or ``q`` where nothing is wide."""
    rng = random.Random(10)
    vectors = [{"t": t, "q": rng.randint(-128, 127), "wide": 1} for t in range(-(1 << 15), 1 << 15, 7)]
    vectors += [{"t": sign * (1 << k) + off, "q": 5, "wide": 1} for k in range(15) for sign in (-1, 1) for off in (-1, 0, 1)]
    narrow = [{"t": rng.randrange(-(1 << 15), 1 << 15), "q": q, "wide": 0} for q in range(-128, 128)]
    got = settle(SplitSum(), vectors + narrow, ["high", "low"])
    kept = arithmetic.sat(np.array([v["t"] for v in vectors]), SUM_BITS).tolist()
    assert [(out["high"], out["low"]) for out in got[: len(vectors)]] == [divmod(value, 1 << LOW_BITS) for value in kept]
    assert [out["high"] for out in got[len(vectors) :]] == [v["q"] for v in narrow]


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
    codes = [[rng.randrange(1 << FULL_CODE_BITS) for _ in range(lanes)] for _ in range(depth)]

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
        ctx.set(dut.write_codes, [(code + 1) % (1 << FULL_CODE_BITS) for code in codes[rows[-1]]])
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
