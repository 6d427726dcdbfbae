"""Primitives and post-processing against plain Python: docs/integer-contract.md, sections 1, 3 and 7."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant.contract import RECIPROCALS
from sim.golden import arithmetic
from sim.golden.arithmetic import PostParameters, post_process
from tests.sim.golden import plain
from triovit.errors import InternalError

#: A busy machine may take its time.
UNHURRIED = settings(deadline=None)


def column(*values):
    return np.array(values, np.int64)


@UNHURRIED
@given(st.integers(-(2**43), 2**43 - 1), st.integers(0, 62))
@example(-1, 1)
@example(-3, 1)
@example(2**42, 47)
@example(-(2**42), 62)
@example(0, 0)
def test_rs_rounds_halves_towards_plus_infinity(v, s):
    assert arithmetic.rs(column(v), s).tolist() == [plain.rs(v, s)]
    assert arithmetic.rs(column(v), column(s)).tolist() == [plain.rs(v, s)]


BY_HAND = [(3, 1, 2), (-3, 1, -1), (1, 1, 1), (-1, 1, 0), (5, 2, 1), (6, 2, 2), (-6, 2, -1), (7, 0, 7)]


@pytest.mark.parametrize(("v", "s", "rounded"), BY_HAND)
def test_rs_by_hand(v, s, rounded):
    assert arithmetic.rs(column(v), s)[0] == rounded


@UNHURRIED
@given(st.integers(-(2**44), 2**44), st.sampled_from([8, 16, 27]))
@example(128, 8)
@example(127, 8)
@example(-128, 8)
@example(-129, 8)
def test_sat(v, bits):
    assert arithmetic.sat(column(v), bits).tolist() == [plain.sat(v, bits)]


@UNHURRIED
@given(st.integers(1, 2**53 - 1))
@example(2**53 - 1)
@example(1)
def test_msb(v):
    assert arithmetic.msb(column(v)).tolist() == [v.bit_length() - 1]


def test_msb_of_every_power_and_its_neighbours():
    for bit in range(1, 53):
        assert arithmetic.msb(column(2**bit - 1, 2**bit, 2**bit + 1)).tolist() == [bit - 1, bit, bit]


@UNHURRIED
@given(st.integers(0, 2**26 - 1), st.integers(0, 26), st.sampled_from([4, 10]))
@example(0, 0, 4)
@example(0, 0, 10)
@example(1, 0, 4)
@example(1, 0, 10)
@example(1, 1, 10)
@example(2**26 - 1, 0, 4)
@example(2**26 - 1, 0, 10)
def test_log2_code(divisor, div_min, code_bits):
    code = arithmetic.log2_code(column(divisor), div_min, code_bits)
    assert code.dtype == np.uint16
    assert code.tolist() == [plain.code(divisor, div_min, code_bits)]


def test_log2_code_of_the_papers_example():
    assert arithmetic.log2_code(column(0b01100011), 0).tolist() == [7]


def test_log2_code_of_small_divisors():
    exponents = [0, 0, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4]
    assert arithmetic.log2_code(np.arange(17), 0).tolist() == exponents


def test_log2_code_with_a_fraction_of_small_divisors():
    """Parts of an octave: 1, 2, 3 = 2 * (1 + 32/64), 5 = 4 * (1 + 16/64), 127 = 64 * (1 + 63/64)."""
    codes = [0, 64, 96, 128, 144, 384, 385, 447, 448]
    assert arithmetic.log2_code(column(1, 2, 3, 4, 5, 64, 65, 127, 128), 0, 10).tolist() == codes
    assert arithmetic.log2_code(column(129, 130), 0, 10).tolist() == [448, 449], "what lies below the fraction is cut off"


def test_log2_code_with_a_fraction_at_its_limits():
    assert arithmetic.log2_code(column(2**16 - 1, 2**16, 2**26 - 1), 0, 10).tolist() == [1023, 1023, 1023]
    assert arithmetic.log2_code(column(1, 127, 128, 130), 7, 10).tolist() == [0, 0, 0, 1]


@UNHURRIED
@given(st.integers(0, 2**39 - 1), st.integers(-1, 1))
@example(0, 0)
def test_isqrt_around_random_numbers_and_squares(v, off):
    root = int(v**0.5)
    for value in (v, max(root * root + off, 0)):
        found = int(arithmetic.isqrt(column(value))[0])
        assert found * found <= value < (found + 1) * (found + 1)


def test_isqrt_just_below_the_largest_squares():
    roots = np.arange(2**25 - 1000, 2**25, dtype=np.int64)
    assert (arithmetic.isqrt(roots * roots) == roots).all()
    assert (arithmetic.isqrt(roots * roots - 1) == roots - 1).all()


@UNHURRIED
@given(st.lists(st.integers(-128, 127), min_size=1))
def test_relu(values):
    assert arithmetic.relu(np.array(values, np.int8)).tolist() == [max(v, 0) for v in values]


CHANNEL = st.fixed_dictionaries(
    {
        "bias": st.one_of(st.integers(-(2**25), 2**25), st.sampled_from([0, -(2**25), 2**25])),
        "mult": st.one_of(st.integers(0, 65535), st.sampled_from([0, 1, 65535])),
        "shift": st.one_of(st.integers(0, 47), st.sampled_from([0, 47])),
        "three": st.one_of(st.integers(0, 2**14 - 1), st.sampled_from([0, 2**14 - 1])),
        "zero": st.one_of(st.integers(-512, 511), st.sampled_from([-512, 0, 511])),
    }
)
ACCUMULATOR = st.one_of(st.integers(-(2**25), 2**25 - 1), st.integers(-1000, 1000), st.sampled_from([-(2**25), 0, 2**25 - 1]))


def parameters(channel, **rest):
    return PostParameters(**{name: column(value) for name, value in channel.items()}, **rest)


@UNHURRIED
@given(ACCUMULATOR, CHANNEL, st.integers(0, 31), st.sampled_from(["none", "hardswish"]))
def test_post_processing_without_residual(acc, channel, out_shift, act):
    q = post_process(column([acc]), parameters(channel, act=act, out_shift=out_shift))
    assert q.dtype == np.int8
    assert q.tolist() == [[plain.post(acc, 0, {k: [v] for k, v in channel.items()}, act=act, out_shift=out_shift)]]


@UNHURRIED
@given(ACCUMULATOR, CHANNEL, st.integers(0, 31), st.integers(-128, 127), st.integers(-128, 127))
@example(2**25 - 1, {"bias": 2**25, "mult": 65535, "shift": 0, "three": 2**14 - 1, "zero": 511}, 0, 127, -128)
@example(-(2**25), {"bias": -(2**25), "mult": 65535, "shift": 0, "three": 2**14 - 1, "zero": -512}, 31, -128, 127)
def test_post_processing_with_residual(acc, channel, out_shift, r, zero):
    post = parameters(channel, out_shift=out_shift, res_zero=zero)
    q = post_process(column([acc]), post, residual=np.array([[r]], np.int8))
    arrays = {k: [v] for k, v in channel.items()}
    assert q.tolist() == [[plain.post(acc, 0, arrays, out_shift=out_shift, residual=(r, zero))]]


@UNHURRIED
@given(ACCUMULATOR, CHANNEL, st.integers(0, 15))
def test_post_processing_of_a_quotient(acc, channel, code):
    q = post_process(column([acc]), parameters(channel), code=np.array([[code]], np.uint8))
    assert q.tolist() == [[plain.post(acc, 0, {k: [v] for k, v in channel.items()}, code=code)]]


NUMERATOR, MULT, SHIFT = st.integers(-(2**26), 2**26 - 1), st.integers(0, 65535), st.integers(0, 47)


@UNHURRIED
@given(NUMERATOR, st.integers(0, 1023), MULT, SHIFT, st.sampled_from([4, 10]))
@example(2**26 - 1, 0, 65535, 0, 10)
@example(-(2**26), 0, 65535, 0, 10)
@example(12345, 1023, 65535, 0, 10)
def test_quotient(numerator, code, mult, shift, code_bits):
    code &= (1 << code_bits) - 1
    words = np.full((1, 1, 1, 1), code, np.uint16)
    q = arithmetic.quotient(np.full((1, 1, 1, 1), numerator), words, column(mult), column(shift), code_bits)
    assert q.dtype == np.int8
    assert q.ravel().tolist() == [plain.quotient(numerator, code, mult, shift, code_bits)]


def test_reciprocals_are_those_of_the_intervals_middles():
    assert (RECIPROCALS[0], RECIPROCALS[63]) == (4064, 2056)
    exact = [4096 / (1 + (f + 0.5) / 64) for f in range(64)]
    assert all(abs(found - value) <= 0.5 for found, value in zip(RECIPROCALS, exact, strict=True))


def test_a_quotient_is_within_a_hundred_and_twenty_eighth_of_the_exact_one():
    """100 N / D for N = D, where rounding to whole numbers adds one half at most."""
    divisors = np.arange(64, 4096)
    code = arithmetic.log2_code(divisors, 4, 10)[None, None, None]
    # The whole part is msb - 4, so that the first step leaves 3200 * N / 2^msb; R[f] is 2^17 / 32 divided by 1 + f / 64 or so.
    mult, shift = column(3200 * 2**4), column(8)
    q = arithmetic.quotient(divisors[None, None, None], code, mult, shift, 10).ravel()
    assert (np.abs(q.astype(int) - 100) <= 100 / 128 + 0.5).all()
    assert np.abs(q.astype(int) - 100).max() >= 1


@UNHURRIED
@given(ACCUMULATOR, CHANNEL)
def test_logits_are_the_intermediate_value(acc, channel):
    t = post_process(column([acc]), parameters(channel, logits=True))
    assert t.dtype == np.int16
    assert t.tolist() == [[plain.post(acc, 0, {k: [v] for k, v in channel.items()}, logits=True)]]


def test_post_processing_saturates_both_sides_of_both_steps():
    wide = PostParameters.scaling(np.full(4, 65535), np.zeros(4, int))
    assert post_process(column([2**20, -(2**20), 1, -1]), wide).tolist() == [[127, -128, 127, -128]]
    logits = PostParameters(wide.bias, wide.mult, wide.shift, wide.three, wide.zero, logits=True)
    assert post_process(column([2**20, -(2**20), 1, -1]), logits).tolist() == [[32767, -32768, 32767, -32768]]


def test_constants_belong_to_axis_one():
    post = PostParameters.scaling(np.array([1, 2]), np.array([0, 0]))
    acc = np.arange(12).reshape(2, 2, 3)
    assert (post_process(acc, post) == acc * np.array([1, 2])[:, None]).all()


ONE = {"bias": 0, "mult": 1, "shift": 0, "three": 0, "zero": 0}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bias", 2**26, "bias must lie in [-67108864, 67108863], but spans [67108864, 67108864]"),
        ("mult", 65536, "mult must lie in [0, 65535], but spans [65536, 65536]"),
        ("mult", -1, "mult must lie in [0, 65535], but spans [-1, -1]"),
        ("shift", 48, "shift must lie in [0, 47], but spans [48, 48]"),
        ("three", 2**14, "three must lie in [0, 16383], but spans [16384, 16384]"),
        ("zero", 512, "zero must lie in [-512, 511], but spans [512, 512]"),
    ],
)
def test_constants_outside_their_range(field, value, message):
    with pytest.raises(InternalError, match=f"^{re.escape(message)}$"):
        parameters({**ONE, field: value})


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ({"out_shift": 32}, "out_shift must lie in [0, 31], but spans [32, 32]"),
        ({"act": "relu"}, "act must be none or hardswish, got 'relu'"),
        ({"act": "hardswish", "res_zero": 0}, "a layer has a hardswish or a residual, never both"),
        ({"res_zero": 128}, "res_zero must lie in [-128, 127], but spans [128, 128]"),
        ({"res_zero": -129}, "res_zero must lie in [-128, 127], but spans [-129, -129]"),
        ({"res_zero": 0, "logits": True}, "a layer that stores logits has neither a hardswish nor a residual"),
        ({"act": "hardswish", "logits": True}, "a layer that stores logits has neither a hardswish nor a residual"),
    ],
)
def test_layer_constants_that_the_contract_forbids(rest, message):
    with pytest.raises(InternalError, match=f"^{re.escape(message)}$"):
        parameters(ONE, **rest)


def test_vectors_of_different_length():
    with pytest.raises(InternalError, match=re.escape("post arrays must be vectors of one length, got bias (1,), mult (2,)")):
        PostParameters(column(0), column(1, 1), column(0), column(0), column(0))


def test_an_accumulator_too_large_is_refused_in_checked_mode_only():
    acc, post = column([2**26]), parameters(ONE)
    message = "accumulator with bias must lie in [-67108864, 67108863], but spans [67108864, 67108864]"
    with pytest.raises(InternalError, match=re.escape(message)):
        post_process(acc, post)
    assert post_process(acc, post, checked=False).tolist() == [[127]]


def test_residual_tensor_and_constants_come_together():
    with pytest.raises(InternalError, match=r"^a residual tensor and residual constants must come together$"):
        post_process(column([0]), parameters(ONE), residual=np.zeros((1, 1), np.int8))
    with pytest.raises(InternalError, match=re.escape("residual has shape (1, 2), the accumulators (1, 1)")):
        post_process(column([0]), parameters(ONE, res_zero=0), residual=np.zeros((1, 2), np.int8))


def test_nothing_is_within_every_range():
    arithmetic.require_bits(np.zeros((0, 3), np.int64), 1, "nothing")
