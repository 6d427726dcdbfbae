"""The interpolation table of docs/integer-contract.md, section 9: bicubic, by 2 or 4, in integers."""

from fractions import Fraction

#: Factors that a layer may enlarge by, and the fraction bits of a coefficient.
FACTORS, COEFFICIENT_BITS = (2, 4), 8
#: Pixels that an output pixel is made of, along each axis.
TAPS = 4
#: The parameter of the cubic, as PyTorch's and OpenCV's.
CUBIC = Fraction(-3, 4)


def _cubic(distance: Fraction) -> Fraction:
    """The convolution kernel of Keys (1981) with a = -3/4."""
    d = abs(distance)
    if d <= 1:
        return (CUBIC + 2) * d**3 - (CUBIC + 3) * d**2 + 1
    return CUBIC * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else Fraction(0)


def phase(factor: int, place: int) -> tuple[int, tuple[int, ...]]:
    """Return the first tap's offset and the four coefficients of output pixel ``place`` of each ``factor``.

    The output pixel ``factor * n + place`` lies at ``n + (place + 1/2) / factor - 1/2``; its taps are the input pixels from
    ``n + offset`` on. The coefficients are rounded to ``COEFFICIENT_BITS``, the largest so that they sum to one.
    """
    at = Fraction(2 * place + 1, 2 * factor) - Fraction(1, 2)
    first = at.numerator // at.denominator - 1
    one = 1 << COEFFICIENT_BITS
    rounded = [round(_cubic(at - first - tap) * one) for tap in range(TAPS)]
    rounded[rounded.index(max(rounded))] += one - sum(rounded)
    return first, tuple(rounded)


def matrix(factor: int, extent: int) -> list[list[int]]:
    """Return what one axis of ``extent`` pixels is multiplied by, ``[factor * extent][extent]``; outside repeats the edge."""
    rows = []
    for pixel in range(factor * extent):
        first, coefficients = phase(factor, pixel % factor)
        row = [0] * extent
        for tap, value in enumerate(coefficients):
            row[min(max(pixel // factor + first + tap, 0), extent - 1)] += value
        rows.append(row)
    return rows


def gain(factor: int) -> int:
    """Return the largest sum of magnitudes of a row of coefficients: how much an axis can magnify."""
    return max(sum(map(abs, phase(factor, place)[1])) for place in range(factor))
