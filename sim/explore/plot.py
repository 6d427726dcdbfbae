"""The geometry of the page's plots: points in, coordinates of an SVG out; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sim.explore.point import Point
from sim.explore.sweep import Exploration
from sim.report.charts import Tick, nice_ticks

WIDTH, HEIGHT = 540, 340
LEFT, RIGHT, TOP, BOTTOM = 48, 16, 12, 40
#: Resources that the plots have as their horizontal axis, and their names there.
AXES = {"dsp": "DSP", "bram36": "BRAM36"}


@dataclass(frozen=True)
class Mark:
    """One point, or several at one place: ``kind`` is pareto, fits or over."""

    x: float
    y: float
    kind: str
    text: str


@dataclass(frozen=True)
class Plot:
    """FPS against one resource."""

    title: str
    marks: tuple[Mark, ...]
    #: Path of the best that fits at every cost.
    best: str
    #: Where the board ends; None where no point comes near it.
    limit: float | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def plot(found: Exploration, resource: str) -> Plot:
    """FPS of every point against what it takes of ``resource``."""
    room = found.setting.room()[resource]
    widest = max(point.resources[resource] for point in found.points)
    fastest = max(point.fps for point in found.points)
    right = widest * 1.05 if widest < room * 0.7 else max(widest, room) * 1.05

    def x(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * value / right, 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / (fastest * 1.05), 1)

    order = {"over": 0, "fits": 1, "pareto": 2}
    marks = []
    for point in found.points:
        kind = "pareto" if point.name in found.pareto else "fits" if point.fits else "over"
        text = f"{point.name}: {point.fps:,.1f} FPS, {point.resources[resource]:,g} {AXES[resource]}, {point.bound}"
        marks.append(Mark(x(point.resources[resource]), y(point.fps), kind, text))
    fitting = [point for point in found.points if point.fits]
    corners = [(x(cost), y(fps)) for cost, fps in staircase(fitting, resource)]
    path = "".join(f"H{across}V{up}" if index else f"M{across} {up}" for index, (across, up) in enumerate(corners))
    return Plot(
        f"FPS against {AXES[resource]}",
        tuple(sorted(marks, key=lambda mark: order[mark.kind])),
        path,
        x(room) if room <= right else None,
        tuple(Tick(x(value), f"{value:,g}") for value in nice_ticks(0, right, 6)),
        tuple(Tick(y(value), f"{value:,g}") for value in nice_ticks(0, fastest * 1.05, 6)),
    )


def staircase(points: Sequence[Point], resource: str) -> list[tuple[float, float]]:
    """Cost and FPS of each point that is faster than all that cost as much or less, the cheapest first."""
    steps: list[tuple[float, float]] = []
    for cost, fps in sorted(((point.resources[resource], point.fps) for point in points), key=lambda pair: (pair[0], -pair[1])):
        if not steps or fps > steps[-1][1]:
            steps.append((cost, fps))
    return steps
