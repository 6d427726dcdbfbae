"""Operators against plain loops in Python, on odd sizes: docs/integer-contract.md, sections 4 to 7."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.contract import CODE_WIDTHS, Z_WIDTHS
from sim.golden import operators
from sim.golden.attention import AttentionParameters, attention, split_heads
from sim.golden.layernorm import layernorm
from tests.sim.golden import plain
from tests.sim.golden.networks import int8, weights
from triovit.errors import InternalError

FEW = settings(max_examples=25, deadline=None)
SIZE, STRIDE, KERNEL = st.integers(1, 7), st.integers(1, 3), st.sampled_from([1, 3, 5])
SEED = st.integers(0, 2**32 - 1)
WIDTH, Z_WIDTH = st.sampled_from(CODE_WIDTHS), st.sampled_from(Z_WIDTHS)


def every_picture(run, *batches):
    return np.array([run(*pictures) for pictures in zip(*batches, strict=True)])


@FEW
@given(SEED, st.integers(1, 4), st.integers(1, 4), SIZE, SIZE, KERNEL, STRIDE)
def test_conv(seed, inputs, outputs, height, width, kernel, stride):
    rng = np.random.default_rng(seed)
    x, w, pad = int8(rng, 2, inputs, height, width), weights(rng, outputs, inputs, kernel, kernel), int8(rng, inputs)
    assert (operators.conv(x, w, pad, stride) == every_picture(lambda one: plain.conv(one, w, pad, stride), x)).all()


@FEW
@given(SEED, st.integers(1, 5), SIZE, SIZE, KERNEL, STRIDE)
def test_dw(seed, channels, height, width, kernel, stride):
    rng = np.random.default_rng(seed)
    x, w, pad = int8(rng, 2, channels, height, width), weights(rng, channels, kernel, kernel), int8(rng, channels)
    assert (operators.dw(x, w, pad, stride) == every_picture(lambda one: plain.dw(one, w, pad, stride), x)).all()


@FEW
@given(SEED, st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_pw(seed, groups, inputs, outputs, height, width):
    rng = np.random.default_rng(seed)
    x, w = int8(rng, 2, groups * inputs, height, width), weights(rng, groups * outputs, inputs)
    assert (operators.pw(x, w, groups) == every_picture(lambda one: plain.pw(one, w, groups), x)).all()


@FEW
@given(SEED, st.integers(1, 9), st.integers(1, 9))
def test_fc(seed, inputs, outputs):
    rng = np.random.default_rng(seed)
    x, w = int8(rng, 3, inputs), weights(rng, outputs, inputs)
    assert (operators.fc(x, w) == every_picture(lambda one: plain.fc(one, w), x)).all()


@FEW
@given(SEED, st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_pool(seed, channels, height, width):
    x = int8(np.random.default_rng(seed), 2, channels, height, width)
    assert (operators.pool(x) == every_picture(plain.pool, x)).all()


@FEW
@given(SEED, st.integers(1, 40), st.integers(0, 127))
def test_layernorm(seed, channels, spread):
    rng = np.random.default_rng(seed)
    x = np.clip(rng.integers(-128, 128) + rng.integers(-spread, spread + 1, (3, channels)), -128, 127).astype(np.int8)
    gamma = rng.integers(-1023, 1024, channels)
    assert (layernorm(x, gamma) == every_picture(lambda one: plain.layernorm(one, gamma), x)).all()


@pytest.mark.parametrize("value", [-128, 0, 127])
def test_layernorm_of_a_constant_vector_is_zero(value):
    assert not layernorm(np.full((1, 7), value, np.int8), np.full(7, 1023)).any()


def test_layernorm_at_the_largest_width():
    x = np.resize(np.array([-128, 127], np.int8), (1, 4096))
    assert (layernorm(x, np.full(4096, -1023))[0] == plain.layernorm(x[0], np.full(4096, -1023))).all()


def test_layernorm_refuses_a_wide_gamma_in_checked_mode_only():
    x, gamma = np.array([[-1, 1]], np.int8), np.array([1024, 0])
    with pytest.raises(InternalError, match=r"^gamma must lie in \[-1023, 1023\], but spans \[0, 1024\]$"):
        layernorm(x, gamma)
    assert layernorm(x, gamma, checked=False).shape == (1, 2)


def attention_arrays(rng, heads):
    return {
        "z_mult": rng.integers(0, 200, heads), "z_shift": rng.integers(2, 16, heads),
        "k_mult": rng.integers(0, 200, heads), "k_shift": rng.integers(0, 12, heads),
        "o_mult": rng.integers(0, 65536, heads), "o_shift": rng.integers(0, 14, heads),
        "div_min": rng.integers(0, 18, heads),
    }


def same_attention(inputs, dim, arrays, code_bits, z_bits):
    result = attention(inputs, AttentionParameters(dim=dim, code_bits=code_bits, z_bits=z_bits, **arrays))
    found = (result.z, result.ksum, result.code, result.output)
    singles = [plain.attention(pictures, dim, arrays, code_bits, z_bits) for pictures in zip(*inputs, strict=True)]
    return [bool((got == np.array(expected)).all()) for got, expected in zip(found, zip(*singles, strict=True), strict=True)]


@FEW
@given(
    SEED,
    st.integers(1, 4),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(1, 4),
    WIDTH,
    Z_WIDTH,
)
def test_attention(seed, dim, heads, height, width, code_bits, z_bits):
    rng = np.random.default_rng(seed)
    inputs = [int8(rng, 2, 3 * dim * count, height, width) for count in heads]
    assert same_attention(inputs, dim, attention_arrays(rng, sum(heads)), code_bits, z_bits) == [True] * 4


@pytest.mark.parametrize("code_bits", CODE_WIDTHS)
@pytest.mark.parametrize("part", [0, 1])
def test_attention_with_divisors_zero(part, code_bits):
    """No query or no key survives relu: every divisor is zero, and so is the code."""
    rng = np.random.default_rng(3)
    x = int8(rng, 1, 12, 2, 3)
    x[:, 4 * part : 4 * part + 4] = -5
    arrays = attention_arrays(rng, 1)
    result = attention([x], AttentionParameters(dim=4, code_bits=code_bits, **arrays))
    assert not result.code.any()
    assert not result.output.any()
    assert same_attention([x], 4, arrays, code_bits, 8) == [True] * 4


@pytest.mark.parametrize("code_bits", CODE_WIDTHS)
@pytest.mark.parametrize("z_bits", Z_WIDTHS)
@pytest.mark.parametrize("sign", [-128, 127])
def test_attention_at_its_extremes(sign, z_bits, code_bits):
    """The largest divisors and dividends that section 8 allows."""
    x = np.full((1, 96, 8, 8), 127, np.int8)
    x[:, 64:] = sign
    arrays = {"z_mult": np.array([65535]), "z_shift": np.array([4]), "k_mult": np.array([65535]), "k_shift": np.array([4]),
              "o_mult": np.array([65535]), "o_shift": np.array([20]), "div_min": np.array([10])}
    assert same_attention([x], 32, arrays, code_bits, z_bits) == [True] * 4


def test_attention_refuses_maps_that_overflow():
    x = np.zeros((1, 3, 65, 65), np.int8)
    arrays = attention_arrays(np.random.default_rng(0), 1)
    with pytest.raises(InternalError, match=r"^attention's largest accumulator must lie in \[0, 67108863\], but spans"):
        attention([x], AttentionParameters(dim=1, **arrays))


def test_split_heads_refuses_broken_heads():
    with pytest.raises(InternalError, match=r"^13 channels are not whole heads of 3 x 4$"):
        split_heads(np.zeros((1, 13, 1, 1), np.int8), 4)


def test_pad_map_refuses_what_is_no_int8():
    with pytest.raises(InternalError, match=r"^pad must lie in \[-128, 127\], but spans \[-200, -200\]$"):
        operators.pad_map(np.zeros((1, 1, 1, 1), np.int8), 1, np.array([-200]))


def test_matmul_refuses_what_float64_cannot_hold():
    with pytest.raises(InternalError, match=f"^a sum of products up to {2**53 + 1} is not exact in float64$"):
        operators.matmul(np.zeros((1, 1), np.int8), np.zeros((1, 1), np.int8), 2**53 + 1)


@pytest.mark.parametrize("length", [1031, 1032, 1033, 4127])
def test_products_are_exact_around_the_limits_of_float32(length):
    """Odd sums just below and far above 2^24."""
    weight = np.full((1, length), 127, np.int8)
    x = np.full((1, length), -128, np.int8)
    x[0, -1] = 127
    assert operators.fc(x, weight).tolist() == [[-127 * 128 * (length - 1) + 127 * 127]]
