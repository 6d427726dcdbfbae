"""The page itself: data and drawings poured into the template."""

import os
from pathlib import Path
from typing import Any

from sim.report.charts import KINDS, range_panels, timeline
from sim.report.data import LayerRow, ReportData
from sim.report.quantization import QuantizationData
from sim.report.quantization_charts import divisor_bars, error_chart
from sim.templates import environment
from triovit.errors import InternalError
from triovit.files import write_text

#: The page's name in its directory.
PAGE = "report.html"
#: Name of the timeline as a picture of its own.
PICTURE = "timeline.svg"
_NOTHING = "\N{EN DASH}"
_TEMPLATES, _TEMPLATE, _PICTURE = Path(__file__).parent, "page.html.j2", "timeline.svg.j2"


def percent(share: float | None) -> str:
    """A share of 1 in percent, or a dash."""
    return _NOTHING if share is None else f"{100 * share:.2f}%"


def decibels(value: float | None) -> str:
    """A ratio in dB, or a dash."""
    return _NOTHING if value is None else f"{value:.1f}"


def deviation(layer: LayerRow) -> str:
    """Measured against foretold cycles, in percent of the foretold."""
    return f"{100 * (layer.cycles / layer.predicted - 1):+.1f}%" if layer.predicted else _NOTHING


def _render(data: ReportData | None, quantization: QuantizationData | None) -> str:
    templates = environment(_TEMPLATES, "report")
    templates.filters.update(percent=percent, deviation=deviation, decibels=decibels)
    shown = data or quantization
    if shown is None:
        raise InternalError("a report needs a simulation or a quantization")
    values: dict[str, Any] = {
        "title": f"{data.network} on {data.config}" if data else shown.network,
        "data": data,
        "quantization": quantization,
        "ranges": [(row.layer, len(row.before.min), range_panels(row)) for row in shown.ranges],
        **(_simulation(data) if data else {"timeline": None}),
        **(_quantization(quantization) if quantization else {}),
    }
    return templates.get_template(_TEMPLATE).render(values)


def _simulation(data: ReportData) -> dict[str, Any]:
    predicted = [layer.predicted for layer in data.layers if layer.predicted is not None]
    chart = timeline(data) if data.timeline else None
    return {
        "timeline": chart,
        "kinds": [kind for kind in KINDS if chart and kind in {bar.kind for bar in chart.bars}],
        "totals": LayerRow(
            name="all layers",
            kind="",
            engine="",
            macs=sum(layer.macs for layer in data.layers),
            cycles=sum(layer.cycles for layer in data.layers),
            predicted=sum(predicted) if len(predicted) == len(data.layers) else None,
            utilization=None,
        ),
    }


def _quantization(quantization: QuantizationData) -> dict[str, Any]:
    return {
        "error_chart": error_chart(quantization.errors) if quantization.errors else None,
        "divisors": [(row.layer, divisor_bars(row)) for row in quantization.divisors],
    }


def write_report(
    directory: str | os.PathLike[str], data: ReportData | None, quantization: QuantizationData | None = None
) -> Path:
    """Write ``report.html`` about a simulation, a quantization or both into ``directory``, whole or not at all; return its path.

    The page is one file: styles and drawings are inside, nothing is fetched. The same data give the same bytes.

    Raises
    ------
    UserError
        The file cannot be written, or jinja2 is missing.
    """
    path = Path(directory) / PAGE
    write_text(path, _render(data, quantization))
    return path


def write_timeline(directory: str | os.PathLike[str], data: ReportData) -> Path:
    """Write ``timeline.svg``, which engine was busy when, into ``directory``, whole or not at all; return its path.

    Raises
    ------
    UserError
        The file cannot be written, or jinja2 is missing.
    """
    path = Path(directory) / PICTURE
    values = {"title": f"{data.network} on {data.config}", **_simulation(data)}
    write_text(path, environment(_TEMPLATES, "report").get_template(_PICTURE).render(values))
    return path
