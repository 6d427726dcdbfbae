"""``triovit report``: one self-contained HTML page about a run."""

from pathlib import Path

import click

from triovit.output import emit, facts, json_option


@click.command("report")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def command(directory: Path, as_json: str | None) -> None:
    """Write report.html about what `triovit demo`, `triovit simulate -o DIR` or `triovit errors -o DIR` left in DIR.

    It shows accuracy, cycles and utilization of every layer, which engine was busy when (as a picture, too: timeline.svg), the
    activations' ranges, and after `triovit errors` the error of every layer and the divisors of attention.
    """
    from sim.report import read_quantization, read_report, write_report, write_timeline
    from triovit.run_report import DATA, ERRORS

    quantization = read_quantization(directory / ERRORS) if (directory / ERRORS).exists() else None
    run = read_report(directory / DATA) if quantization is None or (directory / DATA).exists() else None
    written = {"report": write_report(directory, run, quantization)}
    if run is not None and run.timeline:
        written["timeline"] = write_timeline(directory, run)
    emit(written, as_json, lambda: facts(written))
