"""The geometry of the report's drawings: numbers in, coordinates of an SVG out; the template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sim.report.data import Bounds, Event, RangeRow, ReportData

#: Kinds of layers in the order of the legend; anything else is "other".
KINDS = ("conv", "pw", "dw", "attention", "fc", "pool", "layernorm", "other")

_LABEL, _SHARE, _ROW, _BAR, _AXIS = 90, 60, 34, 24, 26
_MIN_WIDTH, _WIDTH_PER_LAYER = 960, 12
_PANEL_WIDTH, _PANEL_HEIGHT, _PANEL_LABEL = 470, 150, 56


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in the drawing and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Bar:
    """One event of the timeline as a rectangle."""

    x: float
    y: float
    width: float
    kind: str
    text: str


@dataclass(frozen=True)
class Lane:
    """One engine's line of the timeline."""

    engine: str
    y: float
    busy: str


@dataclass(frozen=True)
class Timeline:
    """Which engine was busy when."""

    width: float
    height: float
    left: float
    right: float
    bar_height: float
    lanes: tuple[Lane, ...]
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Panel:
    """One drawing of channel ranges: a vertical stroke a channel."""

    title: str
    width: float
    height: float
    left: float
    path: str
    stroke: float
    ticks: tuple[Tick, ...]


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers in [low, high], about ``count`` of them, at steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _busy(events: Sequence[Event]) -> int:
    """Cycles covered by at least one event."""
    covered, reached = 0, 0
    for event in sorted(events, key=lambda event: event.start):
        covered += max(0, event.end - max(event.start, reached))
        reached = max(reached, event.end)
    return covered


def timeline(data: ReportData) -> Timeline:
    """The Gantt chart of ``data.timeline``, engines in the order of their first event."""
    engines = list(dict.fromkeys(event.engine for event in data.timeline))
    kinds = {layer.name: layer.kind if layer.kind in KINDS else "other" for layer in data.layers}
    inner = max(_MIN_WIDTH, _WIDTH_PER_LAYER * len(data.layers))
    total = max(data.cycles, 1)

    def x(cycle: float) -> float:
        return round(_LABEL + inner * cycle / total, 2)

    lanes = []
    for index, engine in enumerate(engines):
        share = _busy([event for event in data.timeline if event.engine == engine]) / total
        lanes.append(Lane(engine, index * _ROW, f"{100 * share:.0f}% busy"))
    bars = tuple(
        Bar(
            x=x(event.start),
            y=engines.index(event.engine) * _ROW + (_ROW - _BAR) / 2,
            width=max(round(x(event.end) - x(event.start), 2), 0.5),
            kind=kinds.get(event.layer, "other"),
            text=f"{event.layer} on {event.engine}: cycles {event.start:,} to {event.end:,} ({event.end - event.start:,})",
        )
        for event in data.timeline
    )
    return Timeline(
        width=_LABEL + inner + _SHARE + 20,
        height=len(engines) * _ROW + _AXIS,
        left=_LABEL,
        right=_LABEL + inner,
        bar_height=_BAR,
        lanes=tuple(lanes),
        bars=bars,
        ticks=tuple(Tick(x(cycle), f"{cycle:,.0f}") for cycle in nice_ticks(0, total, 10)),
    )


def _panel(title: str, bounds: Bounds, low: float, high: float) -> Panel:
    inner = _PANEL_WIDTH - _PANEL_LABEL
    step = inner / len(bounds.min)

    def y(value: float) -> float:
        return round(8 + (_PANEL_HEIGHT - 16) * (high - value) / (high - low), 1)

    strokes = (
        f"M{_PANEL_LABEL + (channel + 0.5) * step:.1f} {y(largest)}V{y(smallest)}"
        for channel, (smallest, largest) in enumerate(zip(bounds.min, bounds.max, strict=True))
    )
    return Panel(
        title=title,
        width=_PANEL_WIDTH,
        height=_PANEL_HEIGHT,
        left=_PANEL_LABEL,
        path="".join(strokes),
        stroke=round(max(min(step * 0.8, 8), 0.4), 2),
        ticks=tuple(Tick(y(value), f"{value:g}") for value in nice_ticks(low, high, 4)),
    )


def range_panels(row: RangeRow) -> tuple[Panel, Panel]:
    """Channel ranges before and after, at one scale so that they can be compared."""
    values = (*row.before.min, *row.before.max, *row.after.min, *row.after.max)
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 1, high + 1
    return _panel("before", row.before, low, high), _panel("after", row.after, low, high)
