"""``triovit report``: one self-contained HTML page about a run."""

from pathlib import Path

import click

from triovit.output import emit, facts, json_option


@click.command("report")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Page to write; by default DIR/report.html."
)
@json_option
def command(directory: Path, output: Path | None, as_json: bool) -> None:
    """Write the page about the run in DIR, which `triovit demo` or `triovit simulate -o DIR` left there.

    It shows accuracy, cycles and utilization of every layer, which engine was busy when, and the activations' ranges.
    """
    from sim.report import write_report

    page = output or directory / "report.html"
    write_report(directory, page)
    emit({"report": page}, as_json, lambda: facts({"report": page}))
