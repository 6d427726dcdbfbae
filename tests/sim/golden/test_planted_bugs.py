"""Faults planted one at a time: the comparison with plain Python must notice every single one."""

import numpy as np
import pytest

from sim.compare import compare
from sim.golden import arithmetic, attention, layernorm, model, operators
from sim.golden.arithmetic import Residual
from sim.golden.model import GoldenModel
from sim.golden.trace import Trace
from tests.sim.golden import plain
from tests.sim.golden.networks import pictures, plain_run, small_network

NETWORK, PICTURES = small_network(), pictures()
EXPECTED = Trace(tuple(layer.name for layer in NETWORK.layers), plain_run(NETWORK, PICTURES), NETWORK.output)
NEAR_FLAT = np.array([[5, 5, 6, 5, 5, 5, 4, 5, 5], [-128, 127, 3, 90, -77, 14, 15, 16, 17]], np.int8)
GAMMA = np.array([1023, -1023, 512, 77, 1, 0, -300, 900, 901])
LONG = np.where(np.arange(2001) == 7, 127, -128).astype(np.int8)[None]


def all_equal():
    """The equality suite: a network of every kind of layer, a nearly constant LayerNorm, a sum beyond float32."""
    return (
        compare(EXPECTED, GoldenModel(NETWORK, checked=False).run(PICTURES)).equal
        and all((layernorm.layernorm(x[None], GAMMA)[0] == plain.layernorm(x, GAMMA)).all() for x in NEAR_FLAT)
        and (operators.fc(LONG, np.full((1, 2001), 127, np.int8))[0] == plain.fc(LONG[0], np.full((1, 2001), 127))).all()
    )


RS, SAT, CODE, PAD, TAP = arithmetic.rs, arithmetic.sat, arithmetic.log2_code, operators.pad_map, operators.tap
GATE, SPLIT, PW, CONV, POST = arithmetic.hardswish_gate, attention.split_heads, operators.pw, operators.conv, model.post_process


def halves_down(v, s):
    return (v + np.maximum(np.left_shift(np.int64(1), s) // 2 - 1, 0)) >> s


def symmetric_sat(v, bits):
    return np.maximum(SAT(v, bits), 1 - (1 << (bits - 1)))


def stride_phase(padded, ky, kx, stride, height, width):
    return TAP(np.roll(padded, 1 - stride, axis=-1), ky, kx, stride, height, width)


def leading_one_only(divisor, div_min):
    return np.where(divisor == 0, 0, np.clip(arithmetic.msb(divisor) - div_min, 0, 15)).astype(np.uint8)


def two_roundings(acc, post, *, residual=None, code=None, checked=True):
    if residual is None:
        return POST(acc, post, code=code, checked=checked)
    arrays = (post.bias, post.mult, post.shift, post.three, post.zero)
    rounded = POST(acc, arithmetic.PostParameters(*arrays, out_shift=post.out_shift)).astype(np.int64)
    added = RS((residual.astype(np.int64) - post.residual.zero) * post.residual.mult, post.out_shift)
    return SAT(rounded + added, 8).astype(np.int8)


BUGS = {
    "truncation instead of rounding": (arithmetic, "rs", lambda v, s: v >> s),
    "halves rounded down": (arithmetic, "rs", halves_down),
    "no saturation": (arithmetic, "sat", lambda v, bits: v),
    "saturation to -127": (arithmetic, "sat", symmetric_sat),
    "padding with zero": (operators, "pad_map", lambda x, margin, pad: PAD(x, margin, pad * 0)),
    "padding with the first channel's value": (operators, "pad_map", lambda x, margin, pad: PAD(x, margin, pad * 0 + pad[0])),
    "channels swapped in a group": (operators, "pw", lambda x, w, groups=1: PW(x, w[:, ::-1], groups)),
    "groups swapped": (operators, "pw", lambda x, w, groups=1: PW(x[:, ::-1] if groups > 1 else x, w, groups)),
    "kernel flipped": (operators, "conv", lambda x, w, pad, stride: CONV(x, w[..., ::-1, ::-1], pad, stride)),
    "kernel transposed": (operators, "conv", lambda x, w, pad, stride: CONV(x, w.swapaxes(2, 3), pad, stride)),
    "stride out of phase": (operators, "tap", stride_phase),
    "log2 without the bit below": (arithmetic, "log2_code", leading_one_only),
    "log2 off by one": (arithmetic, "log2_code", lambda d, least: CODE(d, least + 1)),
    "no relu": (arithmetic, "relu", lambda v: v),
    "query and key swapped": (attention, "split_heads", lambda x, dim: SPLIT(x, dim)[:, :, [1, 0, 2]]),
    "heads in reverse": (attention, "split_heads", lambda x, dim: SPLIT(x, dim)[:, ::-1]),
    "residual zero off by one": (model, "Residual", lambda mult, zero: Residual(mult, zero + 1)),
    "residual factor off by one": (model, "Residual", lambda mult, zero: Residual(mult + 1, zero)),
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
