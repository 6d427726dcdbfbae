"""Histograms of divisors' codes, on made-up codes."""

import numpy as np
import pytest

from quant.contract import CODE_WIDTHS
from sim.divisors import DivisorCounts
from tests.support.networks import NetworkBuilder


def layer_of(code_bits: int, div_min: list[int]):
    build = NetworkBuilder(3, 8, 8)
    qkv = build.pw("S1.1.MLA.qkv", build.stem(8), 3 * 4 * len(div_min))
    build.attention("S1.1.MLA.att", (qkv,), 4, code_bits)
    build.head("S1.1.MLA.att", 8, 8, 4)
    artifact = build.artifact()
    artifact.layer("S1.1.MLA.att").arrays["div_min"][:] = div_min
    return artifact


def test_whole_codes_by_hand():
    counts = DivisorCounts(layer_of(4, [2, 5]))
    counts.add({"S1.1.MLA.att.code": np.array([[[0, 1, 1], [3, 15, 3]]], np.uint16)})
    counts.add({"S1.1.MLA.att.code": np.array([[[1, 1, 1], [3, 3, 3]]], np.uint16)})
    (found,) = counts.found()
    codes = [0] * 16
    codes[0], codes[1], codes[3], codes[15] = 1, 5, 5, 1
    assert (found.layer, found.code_bits, found.codes) == ("S1.1.MLA.att", 4, tuple(codes))
    # Logarithms: 2 + 0 once, 2 + 1 five times, 5 + 3 five times, 5 + 15 once.
    exponents = [0] * 19
    exponents[0], exponents[1], exponents[6], exponents[18] = 1, 5, 5, 1
    assert (found.lowest, found.exponents) == (2, tuple(exponents))


def test_codes_with_a_fraction_by_hand():
    counts = DivisorCounts(layer_of(10, [4, 4]))
    counts.add({"S1.1.MLA.att.code": np.array([[[64, 127, 128], [1023, 0, 65]]], np.uint16)})
    (found,) = counts.found()
    assert len(found.codes) == 1024
    assert [code for code, count in enumerate(found.codes) if count] == [0, 64, 65, 127, 128, 1023]
    assert (found.lowest, found.exponents) == (4, (1, 3, 1, *[0] * 12, 1))


@pytest.mark.parametrize("code_bits", CODE_WIDTHS)
def test_every_divisor_is_counted(code_bits):
    artifact = layer_of(code_bits, [3, 7])
    codes = np.random.default_rng(0).integers(0, 1 << code_bits, (5, 2, 64)).astype(np.uint16)
    counts = DivisorCounts(artifact)
    counts.add({"S1.1.MLA.att.code": codes})
    (found,) = counts.found()
    assert found.codes == tuple(np.bincount(codes.ravel(), minlength=1 << code_bits).tolist())
    assert sum(found.exponents) == codes.size


def test_without_attention_there_is_nothing():
    build = NetworkBuilder(1, 8, 8)
    build.head(build.stem(8), 8, 8, 4)
    assert DivisorCounts(build.artifact()).found() == []
