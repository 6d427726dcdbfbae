"""The page itself: data and drawings poured into the template."""

import os
from pathlib import Path
from typing import Any

from sim.report.charts import KINDS, range_panels, timeline
from sim.report.data import LayerRow, ReportData
from triovit.errors import UserError
from triovit.files import write_text

#: The page's name in its directory.
PAGE = "report.html"
_NOTHING = "\N{EN DASH}"
_TEMPLATE = Path(__file__).with_name("page.html.j2")


def percent(share: float | None) -> str:
    """A share of 1 in percent, or a dash."""
    return _NOTHING if share is None else f"{100 * share:.2f}%"


def deviation(layer: LayerRow) -> str:
    """Measured against foretold cycles, in percent of the foretold."""
    return f"{100 * (layer.cycles / layer.predicted - 1):+.1f}%" if layer.predicted else _NOTHING


def _render(data: ReportData) -> str:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise UserError("the report needs the package jinja2; install it with: pip install 'triovit[sim]'") from error
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, deviation=deviation)
    predicted = [layer.predicted for layer in data.layers if layer.predicted is not None]
    chart = timeline(data) if data.timeline else None
    values: dict[str, Any] = {
        "data": data,
        "timeline": chart,
        "kinds": [kind for kind in KINDS if chart and kind in {bar.kind for bar in chart.bars}],
        "ranges": [(row.layer, len(row.before.min), range_panels(row)) for row in data.ranges],
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
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(values)


def write_report(directory: str | os.PathLike[str], data: ReportData) -> Path:
    """Write ``report.html`` into ``directory``, whole or not at all, and return its path.

    The page is one file: styles and drawings are inside, nothing is fetched. The same data give the same bytes.

    Raises
    ------
    UserError
        The file cannot be written, or jinja2 is missing.
    """
    path = Path(directory) / PAGE
    write_text(path, _render(data))
    return path
