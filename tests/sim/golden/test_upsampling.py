"""Bicubic enlargement against a plain loop in fractions: docs/integer-contract.md, section 9."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.golden import operators
from tests.sim.golden.networks import int8

FACTORS = (2, 4)
FEW = settings(max_examples=40, deadline=None)


def cubic(distance):
    """The interpolation's kernel, a = -3/4."""
    a, d = Fraction(-3, 4), abs(distance)
    return (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4)


def taps(factor, place, extent):
    """Four (input pixel, coefficient in 1/256) of one output pixel along an axis; the largest makes the sum 256."""
    at = Fraction(2 * place + 1, 2 * factor) - Fraction(1, 2)
    pixels = range(floor(at) - 1, floor(at) + 3)
    coefficients = [round(256 * cubic(at - pixel)) for pixel in pixels]
    coefficients[coefficients.index(max(coefficients))] += 256 - sum(coefficients)
    return [(min(max(pixel, 0), extent - 1), value) for pixel, value in zip(pixels, coefficients, strict=True)]


def plain_upsample(x, factor):
    """One picture ``[C][H][W]``, one output pixel at a time."""
    channels, height, width = x.shape
    acc = np.zeros((channels, factor * height, factor * width), object)
    for c, y, column in np.ndindex(*acc.shape):
        rows, columns = taps(factor, y, height), taps(factor, column, width)
        acc[c, y, column] = sum(v * w * int(x[c, py, px]) for py, v in rows for px, w in columns)
    return acc


@FEW
@given(st.integers(0, 2**32 - 1), st.sampled_from(FACTORS), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
def test_upsample(seed, factor, channels, height, width):
    x = int8(np.random.default_rng(seed), 2, channels, height, width)
    acc = operators.upsample(x, factor)
    assert acc.dtype == np.int64
    assert (acc == np.array([plain_upsample(picture, factor) for picture in x])).all()


def test_coefficients_by_hand():
    """One bright pixel: each axis alone shows its coefficients, a quarter and three quarters of the way for factor 2."""
    x = np.zeros((1, 1, 1, 7), np.int8)
    x[..., 3] = 1
    assert (operators.upsample(x, 2)[0, 0, 0] // 256).tolist() == [0, 0, 0, -9, -27, 67, 225, 225, 67, -27, -9, 0, 0, 0]


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("value", [-128, 0, 127])
def test_a_constant_map_stays_constant(factor, value):
    assert (operators.upsample(np.full((1, 2, 3, 5), value, np.int8), factor) == value << 16).all()


@pytest.mark.parametrize("factor", FACTORS)
def test_rows_and_columns_are_alike(factor):
    x = int8(np.random.default_rng(4), 1, 2, 5, 6)
    assert (operators.upsample(x.swapaxes(2, 3), factor).swapaxes(2, 3) == operators.upsample(x, factor)).all()


@pytest.mark.parametrize(("factor", "gain"), [(2, 328), (4, 346)])
def test_the_largest_sums_keep_their_bound(factor, gain):
    """Each pixel has the sign of its coefficient; ``gain`` is the largest sum of a row's magnitudes."""
    reached = 0
    for y, column in np.ndindex(factor, factor):
        x = np.zeros((1, 1, 7, 7), np.int8)
        for py, v in taps(factor, 3 * factor + y, 7):
            for px, w in taps(factor, 3 * factor + column, 7):
                x[0, 0, py, px] = 127 if v * w > 0 else -128
        largest = int(operators.upsample(x, factor)[0, 0, 3 * factor + y, 3 * factor + column])
        assert largest == plain_upsample(x[0], factor)[0, 3 * factor + y, 3 * factor + column]
        reached = max(reached, largest)
    assert 127 * gain**2 <= reached <= 128 * gain**2 < 1 << 26


#: What a wrong enlargement would do; each must differ from the plain loop somewhere.
TRUE_PHASE = operators.phase
BUGS = {
    "taps one pixel late": lambda factor, place: (TRUE_PHASE(factor, place)[0] + 1, TRUE_PHASE(factor, place)[1]),
    "coefficients in reverse": lambda factor, place: (TRUE_PHASE(factor, place)[0], TRUE_PHASE(factor, place)[1][::-1]),
    "places in reverse": lambda factor, place: TRUE_PHASE(factor, factor - 1 - place),
    "the nearest pixel": lambda factor, place: (TRUE_PHASE(factor, place)[0], (0, 256, 0, 0)),
    "a coefficient off by one": lambda factor, place: (
        TRUE_PHASE(factor, place)[0],
        tuple(value + (tap == 0) for tap, value in enumerate(TRUE_PHASE(factor, place)[1])),
    ),
}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(monkeypatch, bug, factor):
    x = int8(np.random.default_rng(5), 1, 1, 5, 4)
    expected = plain_upsample(x[0], factor)
    assert (operators.upsample(x, factor)[0] == expected).all()
    monkeypatch.setattr(operators, "phase", BUGS[bug])
    assert (operators.upsample(x, factor)[0] != expected).any()


@pytest.mark.parametrize("factor", FACTORS)
def test_the_border_is_repeated(factor):
    """A map that is enlarged as if zeros lay around it differs at its border, and there alone."""
    x = np.full((1, 1, 5, 6), 100, np.int8)
    framed = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    inner = operators.upsample(framed, factor)[:, :, 2 * factor : -2 * factor, 2 * factor : -2 * factor]
    different = inner != operators.upsample(x, factor)
    edge = 2 * factor
    assert different[:, :, 0].any() and different[:, :, :, -1].any()
    assert not different[:, :, edge:-edge, edge:-edge].any()
