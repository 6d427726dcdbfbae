"""The geometry of a quantization's drawings: SQNR layer by layer, and histograms of divisors."""

from collections.abc import Sequence
from dataclasses import dataclass

from sim.report.charts import Tick, nice_ticks
from sim.report.quantization import DivisorRow, ErrorRow

_LEFT, _TOP, _BOTTOM = 56, 8, 26
_HEIGHT, _PER_LAYER, _MIN_WIDTH = 220, 14, 960
_BARS_WIDTH, _BARS_HEIGHT = 470, 130


@dataclass(frozen=True)
class Dot:
    """One layer's SQNR."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Series:
    """One kind of SQNR through all layers; ``path`` joins the dots."""

    name: str
    css: str
    path: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class ErrorChart:
    """SQNR over the layers in execution order."""

    width: float
    height: float
    left: float
    series: tuple[Series, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Bars:
    """A histogram; every bar is a vertical stroke of ``path``."""

    title: str
    width: float
    height: float
    left: float
    path: str
    stroke: float
    ticks: tuple[Tick, ...]
    #: Along the lower edge.
    below: tuple[Tick, ...]


def error_chart(rows: Sequence[ErrorRow]) -> ErrorChart:
    """The SQNR of each layer's tensor in the integer network, alone, and of its weights; what is exact has no dot."""
    kinds = (("integer network", "accumulated"), ("tensor alone", "alone"), ("weights alone", "weights"))
    values = [value for row in rows for _, field in kinds if (value := getattr(row, field)) is not None]
    low, high = min((0.0, *values)), max((1.0, *values))
    inner = max(_MIN_WIDTH, _PER_LAYER * len(rows))
    step = inner / max(len(rows), 1)

    def y(value: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low), 1)

    series = []
    for name, field in kinds:
        dots = tuple(
            Dot(round(_LEFT + (place + 0.5) * step, 1), y(value), f"{row.layer}, {name}: {value:.1f} dB")
            for place, row in enumerate(rows)
            if (value := getattr(row, field)) is not None
        )
        path = "".join(f"{'L' if place else 'M'}{dot.x} {dot.y}" for place, dot in enumerate(dots))
        series.append(Series(name, field, path, dots))
    ticks = tuple(Tick(y(value), f"{value:g} dB") for value in nice_ticks(low, high, 5))
    return ErrorChart(_LEFT + inner, _HEIGHT, _LEFT, tuple(series), ticks)


def divisor_bars(row: DivisorRow) -> tuple[Bars, Bars]:
    """The divisors' codes, and their whole binary logarithms."""
    fine = 1 << (row.code_bits - 4)
    whole = tuple(range(0, len(row.codes), 4 * fine))
    return (
        _bars(f"codes in use, {row.code_bits} bits", row.codes, [(place, str(place)) for place in whole]),
        _bars(
            "whole binary logarithms of the divisors",
            row.exponents,
            [(place, str(row.lowest + place)) for place in range(len(row.exponents))],
        ),
    )


def _bars(title: str, counts: Sequence[float], names: Sequence[tuple[int, str]]) -> Bars:
    top, step = max((*counts, 1)), (_BARS_WIDTH - _LEFT) / max(len(counts), 1)
    floor = _BARS_HEIGHT - _BOTTOM

    def x(place: int) -> float:
        return round(_LEFT + (place + 0.5) * step, 1)

    def y(value: float) -> float:
        return round(floor - (floor - _TOP) * value / top, 1)

    return Bars(
        title=title,
        width=_BARS_WIDTH,
        height=_BARS_HEIGHT,
        left=_LEFT,
        path="".join(f"M{x(place)} {floor}V{y(count)}" for place, count in enumerate(counts) if count > 0),
        stroke=round(max(min(step * 0.8, 24), 0.4), 2),
        ticks=tuple(Tick(y(value), f"{value:,.0f}") for value in nice_ticks(0, top, 3)),
        below=tuple(Tick(x(place), name) for place, name in names),
    )
