"""Faults planted one at a time: the comparison with plain Python must notice every single one."""

from dataclasses import replace

import numpy as np
import pytest

from quant.contract import CODE_WIDTHS, RECIPROCALS, Z_WIDTHS
from sim.compare import compare
from sim.golden import arithmetic, attention, layernorm, model, operators
from sim.golden.model import GoldenModel
from sim.golden.trace import Trace
from tests.sim.golden import plain
from tests.sim.golden.networks import pictures, plain_run, small_network

NETWORKS = [small_network(code_bits=code_bits, z_bits=z_bits) for code_bits, z_bits in zip(CODE_WIDTHS, Z_WIDTHS, strict=True)]
PICTURES = pictures()
EXPECTED = [
    Trace(tuple(layer.name for layer in network.layers), plain_run(network, PICTURES), network.output) for network in NETWORKS
]
#: The deviation of the last one is 84.9.
NEAR_FLAT = np.array([[5, 5, 6, 5, 5, 5, 4, 5, 5], [-128, 127, 3, 90, -77, 14, 15, 16, 17], [0] * 8 + [30]], np.int8)
GAMMA = np.array([1023, -1023, 512, 77, 1, 0, -300, 900, 901])
LONG = np.where(np.arange(2001) == 7, 127, -128).astype(np.int8)[None]
#: Divisors and smallest exponents of which both ends of either code's range are beyond.
DIVISORS = [(d, least) for d in (0, 1, 3, 31, 32, 1000, 2**17 + 5, 2**26 - 1) for least in (0, 3, 12)]


def same_codes(code_bits):
    divisors, least = np.array(DIVISORS, np.int64).T
    found = arithmetic.log2_code(divisors, least, code_bits).tolist()
    return found == [plain.code(d, smallest, code_bits) for d, smallest in DIVISORS]


def all_equal():
    """The equality suite: networks of every kind of layer, extreme divisors, a flat LayerNorm, a sum beyond float32."""
    return (
        all(
            compare(expected, GoldenModel(network, checked=False).run(PICTURES)).equal
            for expected, network in zip(EXPECTED, NETWORKS, strict=True)
        )
        and all(same_codes(code_bits) for code_bits in CODE_WIDTHS)
        and all((layernorm.layernorm(x[None], GAMMA)[0] == plain.layernorm(x, GAMMA)).all() for x in NEAR_FLAT)
        and (operators.fc(LONG, np.full((1, 2001), 127, np.int8))[0] == plain.fc(LONG[0], np.full((1, 2001), 127))).all()
    )


RS, SAT, CODE, PAD, TAP = arithmetic.rs, arithmetic.sat, arithmetic.log2_code, operators.pad_map, operators.tap
GATE, SPLIT, PW, CONV, DW = arithmetic.hardswish_gate, attention.split_heads, operators.pw, operators.conv, operators.dw
POST = model.post_process
QUOTIENT, SUMS = arithmetic.quotient, attention._sums


def halves_down(v, s):
    return (v + np.maximum(np.left_shift(np.int64(1), s) // 2 - 1, 0)) >> s


def symmetric_sat(v, bits):
    return np.maximum(SAT(v, bits), 1 - (1 << (bits - 1)))


def stride_phase(padded, ky, kx, stride, height, width):
    return TAP(np.roll(padded, 1 - stride, axis=-1), ky, kx, stride, height, width)


def depthwise_with(change):
    """Depthwise convolutions with other padding, made from the true one."""
    return lambda x, weight, pad, stride: DW(x, weight, change(pad), stride)


def leading_one_only(divisor, div_min, code_bits):
    coarse = np.where(divisor == 0, 0, np.clip(arithmetic.msb(divisor) - div_min, 0, 15)).astype(np.uint16)
    return coarse if code_bits == 4 else CODE(divisor, div_min, code_bits)


def fine(change):
    """Codes with a fraction go through ``change``, as integers of any size; those without stay."""

    def log2_code(divisor, div_min, code_bits):
        code = CODE(divisor, div_min, code_bits)
        return code if code_bits == 4 else change(code.astype(np.int64), divisor, div_min).astype(np.uint16)

    return log2_code


def rounded_fraction(code, divisor, div_min):
    half = np.maximum(1 << np.maximum(arithmetic.msb(divisor), 0) >> 7, 0)
    return CODE(divisor + half, div_min, 10)


def unclamped(code, divisor, div_min):
    whole = arithmetic.msb(divisor) - div_min
    return np.where(divisor == 0, 0, (64 * whole + code % 64) % 1024)


def quotients(change):
    """Quotients by codes with a fraction are made of what ``change`` gives; the others stay."""

    def quotient(numerator, code, mult, shift, code_bits, *, checked=True):
        return QUOTIENT(numerator, code if code_bits == 4 else change(code), mult, shift, code_bits, checked=checked)

    return quotient


def sums_in(change, of=None):
    """Sums saturate to other widths: all of them, or those with so many axes."""

    def sums(acc, mult, shift, bits, *, checked):
        return SUMS(acc, mult, shift, change(bits) if of in (None, acc.ndim) else bits, checked=checked)

    return sums


def post_with(**changes):
    """Post-processing of layers with a residual with other constants: each of ``changes`` makes one from the true one."""

    def post_process(acc, post, **rest):
        if post.res_zero is not None:
            post = replace(post, **{name: change(getattr(post, name)) for name, change in changes.items()})
        return POST(acc, post, **rest)

    return post_process


def two_roundings(acc, post, *, residual=None, checked=True):
    if residual is None:
        return POST(acc, post, checked=checked)
    rounded = POST(acc, replace(post, res_zero=None)).astype(np.int64)
    three = post.three.astype(np.int64).reshape(-1, *(1,) * (acc.ndim - 2))
    return SAT(rounded + RS((residual.astype(np.int64) - post.res_zero) * three, post.out_shift), 8).astype(np.int8)


BUGS = {
    "truncation instead of rounding": (arithmetic, "rs", lambda v, s: v >> s),
    "halves rounded down": (arithmetic, "rs", halves_down),
    "no saturation": (arithmetic, "sat", lambda v, bits: v),
    "saturation to -127": (arithmetic, "sat", symmetric_sat),
    "padding with zero": (operators, "pad_map", lambda x, margin, pad: PAD(x, margin, pad * 0)),
    "padding with the first channel's value": (operators, "pad_map", lambda x, margin, pad: PAD(x, margin, pad * 0 + pad[0])),
    "depthwise padding with zero": (operators, "dw", depthwise_with(lambda pad: pad * 0)),
    "depthwise padding with the first channel's value": (operators, "dw", depthwise_with(lambda pad: pad * 0 + pad[0])),
    "depthwise padding of another channel": (operators, "dw", depthwise_with(lambda pad: np.roll(pad, 1))),
    "channels swapped in a group": (operators, "pw", lambda x, w, groups=1: PW(x, w[:, ::-1], groups)),
    "groups swapped": (operators, "pw", lambda x, w, groups=1: PW(x[:, ::-1] if groups > 1 else x, w, groups)),
    "kernel flipped": (operators, "conv", lambda x, w, pad, stride: CONV(x, w[..., ::-1, ::-1], pad, stride)),
    "kernel transposed": (operators, "conv", lambda x, w, pad, stride: CONV(x, w.swapaxes(2, 3), pad, stride)),
    "stride out of phase": (operators, "tap", stride_phase),
    "log2 without the bit below": (arithmetic, "log2_code", leading_one_only),
    "log2 off by one": (arithmetic, "log2_code", lambda d, least, bits: CODE(d, least + 1, bits)),
    "fraction off by one": (arithmetic, "log2_code", fine(lambda code, d, least: code ^ 1)),
    "fraction rounded": (arithmetic, "log2_code", fine(rounded_fraction)),
    "fraction forgotten": (arithmetic, "log2_code", fine(lambda code, d, least: code & ~63)),
    "fraction without its clamp": (arithmetic, "log2_code", fine(unclamped)),
    "codes of the other width": (arithmetic, "log2_code", lambda d, least, bits: CODE(d, least, sum(CODE_WIDTHS) - bits)),
    "whole code not shifted": (arithmetic, "quotient", quotients(lambda code: code % 64 * 17 % 1024)),
    "reciprocal of another code": (arithmetic, "quotient", quotients(lambda code: code ^ 1)),
    "reciprocal of a neighbour": (arithmetic, "RECIPROCALS", RECIPROCALS[1:] + RECIPROCALS[:1]),
    "reciprocal of the interval's end": (arithmetic, "RECIPROCALS", tuple(round(4096 * 64 / (64 + f)) for f in range(64))),
    "a quotient shifted too far": (arithmetic, "QUOTIENT_SHIFT", 18),
    "sums of keys in eight bits": (attention, "SUM_BITS", 8),
    "sums in sixteen bits": (attention, "_sums", sums_in(lambda bits: bits + (bits == 15))),
    "K^T V in eight bits": (attention, "_sums", sums_in(lambda bits: 8, of=4)),
    "K^T V in fifteen bits everywhere": (attention, "_sums", sums_in(lambda bits: 15, of=4)),
    "no relu": (arithmetic, "relu", lambda v: v),
    "query and key swapped": (attention, "split_heads", lambda x, dim: SPLIT(x, dim)[:, :, [1, 0, 2]]),
    "heads in reverse": (attention, "split_heads", lambda x, dim: SPLIT(x, dim)[:, ::-1]),
    "residual zero off by one": (model, "post_process", post_with(res_zero=lambda zero: zero + 1)),
    "residual multiplier off by one": (model, "post_process", post_with(three=lambda three: three + 1)),
    "residual multiplier of another channel": (model, "post_process", post_with(three=lambda three: np.roll(three, 1))),
    "one residual multiplier for all": (model, "post_process", post_with(three=lambda three: np.full_like(three, three[0]))),
    "residual rounded by itself": (model, "post_process", two_roundings),
    "hardswish three off by one": (arithmetic, "hardswish_gate", lambda t, three: GATE(t, three + 1)),
    "hardswish without its upper bound": (arithmetic, "hardswish_gate", lambda t, three: np.maximum(t + three, 0)),
    "square root rounded": (arithmetic, "isqrt", lambda v: np.rint(np.sqrt(v)).astype(np.int64)),
    "inverse without its upper bound": (layernorm, "_INVERSE_MAX", 1 << 31),
    "one fractional bit too many": (layernorm, "_NORM_SHIFT", 20),
    "float32 where it is not exact": (operators, "_FLOAT32_EXACT", 1 << 53),
}


def test_without_a_bug_all_is_equal():
    assert all_equal()


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug, monkeypatch):
    monkeypatch.setattr(*BUGS[bug])
    assert not all_equal()
