"""The primitives of the integer contract against plain Python integers."""

from math import isqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quant import integer
from quant.contract import RECIPROCALS
from quant.layer import Post, Residual
from sim.golden import operators


def one(value: int) -> torch.Tensor:
    return torch.tensor([value])


@given(st.integers(-(1 << 43), 1 << 43), st.integers(0, 47))
def test_rs(value: int, shift: int) -> None:
    assert int(integer.rs(one(value), one(shift))) == ((value + (1 << shift >> 1)) >> shift)


@given(st.integers(1, (1 << 26) - 1))
def test_exponent(value: int) -> None:
    top = value.bit_length() - 1
    assert int(integer.msb(one(value))) == top
    assert int(integer.divisor_exponent(one(value))) == top + (value >> (top - 1) & 1 if top else 0)


def test_the_papers_example() -> None:
    assert int(integer.divisor_exponent(one(0b01100011))) == 7


def test_code() -> None:
    divisor = torch.tensor([[[0, 1, 2, 3, 1 << 19]]])
    assert integer.divisor_code(divisor, torch.tensor([0]), 4).tolist() == [[[0, 0, 1, 2, 15]]]
    assert integer.divisor_code(divisor, torch.tensor([5]), 4).tolist() == [[[0, 0, 0, 0, 14]]]
    assert integer.divisor_code(divisor, torch.tensor([0]), 10).tolist() == [[[0, 0, 64, 96, 1023]]]
    assert integer.divisor_code(divisor, torch.tensor([5]), 10).tolist() == [[[0, 0, 0, 0, 896]]]


@given(st.integers(0, (1 << 26) - 1), st.integers(0, 26))
def test_fine_code(value: int, least: int) -> None:
    top = max(value.bit_length() - 1, 0)
    fraction = sum((value >> (top - place) & 1) << (6 - place) for place in range(1, 7) if place <= top)
    wanted = min(max(64 * (top - least) + fraction, 0), 1023) if value else 0
    assert int(integer.divisor_code(torch.tensor([[[value]]]), torch.tensor([least]), 10)) == wanted


@pytest.mark.parametrize("least", [0, 4])
def test_a_fine_code_is_near_every_divisor(least: int) -> None:
    """Both windows of 16 exponents, together every D below 2^20: within 1/128, which is met where D is a power of two."""
    divisor = torch.arange(1 << least, 1 << (least + 16))
    code = integer.divisor_code(divisor.reshape(1, 1, -1), torch.tensor([least]), 10)[0, 0]
    top = least + (code >> 6)
    # D times what the code stands for, R * 2^-(12 + msb(D)): 1 for an exact division. In whole numbers, 2^(12 + msb(D)) is 1.
    error = (divisor * torch.tensor(RECIPROCALS)[code & 63] - (1 << (12 + top))).abs()
    assert bool((128 * error <= 1 << (12 + top)).all())
    assert torch.equal(divisor[128 * error == 1 << (12 + top)], 1 << torch.arange(least, least + 16))


@given(
    st.integers(-(1 << 26), 1 << 26), st.integers(0, 1023), st.integers(0, 65535), st.integers(0, 32), st.sampled_from([4, 10])
)
def test_quotient(numerator: int, code: int, mult: int, shift: int, code_bits: int) -> None:
    code %= 1 << code_bits
    by = shift + (code if code_bits == 4 else code // 64)
    wanted = min(max((numerator * mult + (1 << by >> 1)) >> by, -32768), 32767)
    if code_bits == 10:
        wanted = (wanted * round(2**19 / (129 + 2 * (code % 64))) + (1 << 16)) >> 17
    found = integer.quotient(one(numerator), one(code), one(mult), one(shift), code_bits)
    assert int(found) == min(max(wanted, -128), 127)


@given(st.data(), st.integers(1, 7), st.integers(1, 7), st.sampled_from([2, 4]))
def test_upsampling_is_that_of_the_golden_model(data: st.DataObject, height: int, width: int, factor: int) -> None:
    values = data.draw(st.lists(st.integers(-128, 127), min_size=2 * height * width, max_size=2 * height * width))
    x = np.array(values, np.int8).reshape(1, 2, height, width)
    expected = operators.upsample(x, factor)
    found = integer.upsample(torch.from_numpy(x.astype(np.int64)), factor)
    assert found.dtype == torch.int64
    assert expected.shape == (1, 2, factor * height, factor * width)
    np.testing.assert_array_equal(found.numpy(), expected)


@given(st.integers(0, 1 << 39))
def test_isqrt(value: int) -> None:
    assert int(integer.isqrt(one(value))) == isqrt(value)


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=40))
def test_normalise(values: list[int]) -> None:
    count, total = len(values), sum(values)
    inverse = min((1 << 30) // max(isqrt(count * sum(v * v for v in values) - total**2), 1), (1 << 24) - 1)
    wanted = [min(max(((count * v - total) * inverse + (1 << 20)) >> 21, -32768), 32767) for v in values]
    assert integer.normalise(torch.tensor([values])).tolist() == [wanted]


@given(
    st.integers(-(1 << 25), 1 << 25),
    st.integers(0, 65535),
    st.integers(0, 47),
    st.integers(0, 16383),
    st.integers(0, 31),
    st.integers(-512, 511),
)
def test_hardswish_post(acc: int, mult: int, shift: int, three: int, out_shift: int, zero: int) -> None:
    t = min(max((acc * mult + (1 << shift >> 1)) >> shift, -32768), 32767)
    v = t * min(max(t + three, 0), 2 * three)
    wanted = min(max(((v + (1 << out_shift >> 1)) >> out_shift) + zero, -128), 127)
    found = integer.first_step(one(acc), 0, one(mult), one(shift))
    assert int(found) == t
    assert int(integer.second_step(found, Post("hardswish", out_shift), one(three), one(zero), None)) == wanted


@given(st.integers(-32768, 32767), st.integers(-128, 127), st.integers(0, 16383), st.integers(-128, 127), st.integers(0, 31))
def test_residual_post(t: int, residual: int, three: int, res_zero: int, out_shift: int) -> None:
    v = t + (residual - res_zero) * three
    wanted = min(max(((v + (1 << out_shift >> 1)) >> out_shift) + 3, -128), 127)
    post = Post("none", out_shift, Residual("r", res_zero))
    assert int(integer.second_step(one(t), post, one(three), one(3), one(residual))) == wanted


@given(st.integers(0, 1 << 30), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]), st.sampled_from([1, 2, 4]))
def test_convolution(seed: int, kernel: int, stride: int, groups: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-128, 128, (1, 4, 3, 5), generator=generator)
    weight = torch.randint(-127, 128, (4, 4 // groups, kernel, kernel), generator=generator)
    pad = torch.randint(-128, 128, (4,), generator=generator)
    found, half, share = integer.convolve(x, weight, pad, stride, groups), kernel // 2, 4 // groups
    assert found.shape == (1, 4, -(-3 // stride), -(-5 // stride))
    for o, y, z in [(0, 0, 0), (3, 0, found.shape[3] - 1), (2, found.shape[2] - 1, 1)]:
        total = 0
        for i in range(share):
            c = o // (4 // groups) * share + i
            for ky in range(kernel):
                for kx in range(kernel):
                    iy, ix = y * stride + ky - half, z * stride + kx - half
                    inside = 0 <= iy < 3 and 0 <= ix < 5
                    total += int(weight[o, i, ky, kx]) * int(x[0, c, iy, ix] if inside else pad[c])
        assert int(found[0, o, y, z]) == total
