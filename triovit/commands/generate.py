"""``triovit generate``: the Verilog, its manifest and the program and weight image."""

from pathlib import Path

import click

from triovit import files
from triovit.errors import about
from triovit.options import artifact_argument, batch_option, config_option
from triovit.output import emit, facts, json_option
from triovit.progress import shown


@click.command("generate")
@artifact_argument
@config_option
@batch_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Directory to write.")
@json_option
def command(artifact_path: Path, config_name: str, batch: int, output: Path, as_json: str | None) -> None:
    """Generate the accelerator of a configuration and the program that runs ARTIFACT on it.

    The same input gives the same bytes.
    """
    from hw.config import configuration
    from hw.generate import MANIFEST, SCHEMA, generate
    from quant.artifact import Artifact
    from sim.cycles.model import summary

    config = configuration(config_name)
    files.check_place(output, MANIFEST, SCHEMA)
    artifact = Artifact.load(artifact_path).mapped()
    with about(artifact_path), shown() as progress:
        manifest = generate(artifact, config, output, summary, progress, batch=batch)

    emit(
        {"directory": output, "configuration": config_name, "manifest": manifest},
        as_json,
        lambda: facts(
            {"directory": output, "configuration": config_name, "files": ", ".join(sorted(p.name for p in output.iterdir()))}
        ),
    )
