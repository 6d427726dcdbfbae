"""The primitives of the integer contract against plain Python integers."""

from math import isqrt

import torch
from hypothesis import given
from hypothesis import strategies as st

from quant import integer
from quant.layer import Post, Residual


def one(value: int) -> torch.Tensor:
    return torch.tensor([value])


@given(st.integers(-(1 << 43), 1 << 43), st.integers(0, 47))
def test_rs(value: int, shift: int) -> None:
    assert int(integer.rs(one(value), one(shift))) == ((value + (1 << shift >> 1)) >> shift)


@given(st.integers(1, (1 << 20) - 1))
def test_exponent(value: int) -> None:
    top = value.bit_length() - 1
    assert int(integer.msb(one(value))) == top
    assert int(integer.divisor_exponent(one(value))) == top + (value >> (top - 1) & 1 if top else 0)


def test_the_papers_example() -> None:
    assert int(integer.divisor_exponent(one(0b01100011))) == 7


def test_code() -> None:
    divisor = torch.tensor([[[0, 1, 2, 3, 1 << 19]]])
    assert integer.divisor_code(divisor, torch.tensor([0])).tolist() == [[[0, 0, 1, 2, 15]]]
    assert integer.divisor_code(divisor, torch.tensor([5])).tolist() == [[[0, 0, 0, 0, 14]]]


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


@given(st.integers(-32768, 32767), st.integers(-128, 127), st.integers(0, 32767), st.integers(-128, 127), st.integers(0, 31))
def test_residual_post(t: int, residual: int, mult: int, res_zero: int, out_shift: int) -> None:
    v = t + (residual - res_zero) * mult
    wanted = min(max(((v + (1 << out_shift >> 1)) >> out_shift) + 3, -128), 127)
    post = Post("none", out_shift, Residual("r", mult, res_zero))
    assert int(integer.second_step(one(t), post, one(0), one(3), one(residual))) == wanted


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
