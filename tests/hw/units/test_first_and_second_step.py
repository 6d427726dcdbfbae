"""Rounding shift, requantizer and second step against the golden arithmetic."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.control.descriptor import Act
from hw.units.requantizer import Requantizer
from hw.units.rounding import RoundingShift
from hw.units.second_step import SecondStep
from quant.contract import ACC_BITS, MULT_BITS, OUT_SHIFT_MAX, PRE_BITS, SHIFT_MAX, THREE_BITS, ZERO_BITS
from sim.golden import arithmetic
from tests.hw.units.drive import stream_through

ACC = 1 << (ACC_BITS - 1)
PRE = 1 << (PRE_BITS - 1)


def test_rounding_shift_is_exact_for_every_small_value_and_shift():
    vectors = [{"i": i, "shift": s} for i in range(-128, 128) for s in range(16)]
    got = stream_through(RoundingShift(8, 4, 5), RoundingShift.latency, vectors, ["o"])
    for vector, out in zip(vectors, got, strict=True):
        assert out["o"] == arithmetic.sat(arithmetic.rs(np.int64(vector["i"]), vector["shift"]), 5), vector


@settings(max_examples=12, deadline=None)
@given(st.data(), st.integers(2, 45), st.integers(1, 7), st.integers(2, 18))
def test_rounding_shifts_of_any_widths_are_exact(given_data, in_bits, shift_bits, out_bits):
    limit = 1 << in_bits - 1
    numbers = st.integers(-limit, limit - 1) | st.integers(0, in_bits - 1).map(lambda bit: -(1 << bit))
    small = st.integers(-2, 1).map(lambda near: max(-limit, min(limit - 1, (1 << min(in_bits, out_bits) - 1) + near)))
    shifts = st.integers(0, (1 << shift_bits) - 1)
    vectors = given_data.draw(st.lists(st.fixed_dictionaries({"i": numbers | small, "shift": shifts}), min_size=20, max_size=60))
    got = stream_through(RoundingShift(in_bits, shift_bits, out_bits), RoundingShift.latency, vectors, ["o"])
    for vector, out in zip(vectors, got, strict=True):
        assert out["o"] == _sat(_rs(vector["i"], vector["shift"]), out_bits), vector


def _rs(value: int, shift: int) -> int:
    return (value + (1 << shift >> 1)) >> shift


def _sat(value: int, bits: int) -> int:
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))


def requantizer_vectors(rng):
    for acc in (-ACC, ACC - 1, 0, 1, -1):
        for mult in (0, 1, (1 << MULT_BITS) - 1):
            for shift in (0, 1, 7, 8, 16, 26, 27, 28, 41, 42, 43, SHIFT_MAX):
                for code in (0, 1, 15):
                    yield {"acc": acc, "bias": 0, "mult": mult, "shift": shift, "code": code}
    for _ in range(3000):
        total = rng.choice([rng.randrange(-ACC, ACC), rng.randrange(-PRE, PRE)])
        bias = rng.randrange(max(-ACC, total - ACC + 1), min(ACC - 1, total + ACC) + 1)
        yield {
            "acc": total - bias, "bias": bias, "mult": rng.randrange(1 << rng.randrange(1, MULT_BITS + 1)),
            "shift": rng.randrange(SHIFT_MAX + 1), "code": rng.choice([0, 0, rng.randrange(16)]),
        }


@pytest.mark.parametrize("dsp", [True, False])
def test_requantizer(dsp: bool):
    vectors = list(requantizer_vectors(random.Random(1)))
    got = [out["t"] for out in stream_through(Requantizer(dsp), Requantizer.latency, vectors, ["t"])]
    field = {name: np.array([v[name] for v in vectors], dtype=np.int64) for name in vectors[0]}
    exact = arithmetic.rs((field["acc"] + field["bias"]) * field["mult"], field["shift"] + field["code"])
    expected = arithmetic.sat(exact, PRE_BITS)
    assert got == expected.tolist()
    assert (exact > PRE).any() and (exact < -PRE).any(), "the vectors must saturate both ways"
    assert len(set(got)) > 500


def test_requantizer_agrees_with_post_process_on_logits():
    rng = np.random.default_rng(2)
    channels = 64
    post = arithmetic.PostParameters(
        bias=rng.integers(-1000, 1000, channels), mult=rng.integers(0, 65536, channels), shift=rng.integers(0, 48, channels),
        three=np.zeros(channels, np.int64), zero=np.zeros(channels, np.int64), logits=True,
    )
    acc = rng.integers(-100000, 100000, (1, channels))
    expected = arithmetic.post_process(acc, post)[0].tolist()
    vectors = [
        {"acc": int(acc[0, c]), "bias": int(post.bias[c]), "mult": int(post.mult[c]), "shift": int(post.shift[c]), "code": 0}
        for c in range(channels)
    ]
    assert [out["t"] for out in stream_through(Requantizer(), Requantizer.latency, vectors, ["t"])] == expected


def second_step_vectors(rng):
    zero_limit, three_max = 1 << (ZERO_BITS - 1), (1 << THREE_BITS) - 1
    common = {"r": 0, "res_zero": 0}
    for act in (Act.NONE, Act.HARDSWISH, Act.QUOTIENT):
        for t in (-PRE, PRE - 1, 0, 1, -1, three_max, -three_max, three_max + 1):
            for three in (0, 1, three_max):
                for shift in (0, 1, 8, 15, 16, OUT_SHIFT_MAX):
                    for zero in (-zero_limit, 0, zero_limit - 1):
                        yield {**common, "t": t, "three": three, "zero": zero, "act": act, "out_shift": shift}
    for r in (-128, 127, 0):
        for res_zero in (-128, 127):
            for three in (0, 1, three_max):
                for t in (-PRE, PRE - 1, 0):
                    for shift in (0, 15, OUT_SHIFT_MAX):
                        layer = {"act": Act.RESIDUAL, "out_shift": shift, "res_zero": res_zero}
                        yield {"t": t, "three": three, "zero": -3, "r": r, **layer}
    for _ in range(3000):
        yield {
            "t": rng.randrange(-PRE, PRE), "three": rng.randrange(1 << rng.randrange(1, THREE_BITS + 1)),
            "zero": rng.randrange(-zero_limit, zero_limit), "r": rng.randrange(-128, 128), "act": rng.choice(list(Act)),
            "out_shift": rng.randrange(OUT_SHIFT_MAX + 1), "res_zero": rng.randrange(-128, 128),
        }


def expected_second_step(v):
    t, three = np.int64(v["t"]), np.int64(v["three"])
    match v["act"]:
        case Act.HARDSWISH:
            value = t * arithmetic.hardswish_gate(t, three)
        case Act.RESIDUAL:
            value = t + (np.int64(v["r"]) - v["res_zero"]) * three
        case Act.QUOTIENT:
            value = t * three
        case _:
            value = t
    return int(arithmetic.sat(arithmetic.rs(value, v["out_shift"]) + v["zero"], 8))


@pytest.mark.parametrize("dsp", [True, False])
def test_second_step(dsp: bool):
    vectors = list(second_step_vectors(random.Random(3)))
    late = {"out_shift": SecondStep.shift_after, "zero": SecondStep.zero_after, "logits": SecondStep.logits_after}
    ports = [{name: value for name, value in vector.items() if name != "res_zero"} for vector in vectors]
    for vector, port in zip(vectors, ports, strict=True):
        port["centre"] = -vector["res_zero"] if vector["act"] is Act.RESIDUAL else 0
        port["logits"] = int(vector["act"] is Act.NONE and vector["t"] % 3 == 0)
    got = stream_through(SecondStep(dsp), SecondStep.latency, ports, ["q", "o", "t_out"], late)
    for vector, port, out in zip(vectors, ports, got, strict=True):
        if port["logits"]:
            assert out["o"] == vector["t"]
        else:
            assert out["q"] == out["o"] == expected_second_step(vector), vector
        assert vector["act"] is not Act.NONE or out["t_out"] == vector["t"]
    reached = {act: {out["q"] for v, out in zip(vectors, got, strict=True) if v["act"] is act} for act in Act}
    assert all({-128, 127} < values and len(values) > 50 for values in reached.values())


@pytest.mark.parametrize("dut", [Requantizer, SecondStep, RoundingShift])
def test_latency_is_positive_and_queryable_without_building(dut):
    assert isinstance(dut.latency, int) and dut.latency > 0
