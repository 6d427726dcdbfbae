"""``triovit report``: one self-contained HTML page about a run."""

from pathlib import Path

import click

from triovit.output import emit, facts, json_option


@click.command("report")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def command(directory: Path, as_json: str | None) -> None:
    """Write report.html about the run in DIR, which `triovit demo` or `triovit simulate -o DIR` left there.

    It shows accuracy, cycles and utilization of every layer, which engine was busy when, and the activations' ranges.
    """
    from sim.report import read_report, write_report
    from triovit.run_report import DATA

    page = write_report(directory, read_report(directory / DATA))
    emit({"report": page}, as_json, lambda: facts({"report": page}))
