"""``triovit simulate``: the emitted Verilog, every layer compared with the golden model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triovit import files, pictures
from triovit.cli import EXIT_DIFFERS
from triovit.errors import about
from triovit.options import artifact_argument, batch_option, config_option
from triovit.output import emit, facts, json_option, percent
from triovit.progress import shown

if TYPE_CHECKING:
    from sim.report import Wait


@click.command("simulate")
@artifact_argument
@config_option
@click.option(
    "--hardware",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="What `triovit generate` wrote; without it the Verilog is generated for --config.",
)
@click.option(
    "--image", "images", type=click.Path(path_type=Path), multiple=True, metavar="FILE", help="A picture; may be repeated."
)
@click.option(
    "--count", type=click.IntRange(min=1), help="Without --image: so many held-out digits; by default a batch."
)
@batch_option
@click.option("--layer", metavar="NAME", help="Run the network up to this layer and compare it alone.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Leave all that `triovit report` needs here."
)
@click.option("--waves", is_flag=True, help="Record a waveform (FST).")
@json_option
@click.pass_context
def command(
    context: click.Context,
    artifact_path: Path,
    config_name: str,
    hardware: Path | None,
    images: tuple[Path, ...],
    count: int | None,
    batch: int,
    layer: str | None,
    waves: bool,
    output: Path | None,
    as_json: str | None,
) -> None:
    """Run ARTIFACT on the simulated accelerator and compare every layer with the golden model.

    The exit code is 1 when a value differs; the first one is named by layer, tensor, index, expected, got and cycle.
    """
    from hw.config import configuration
    from quant.artifact import Artifact
    from sim import toolchain
    from sim.simulate import simulate
    from triovit.run_report import keep, report_data

    if output is not None:
        files.check_place(output)
    artifact = Artifact.load(artifact_path).mapped()
    _, height, width = artifact.input_shape
    given = pictures.chosen(images, artifact.network["name"], (height, width), count or batch)
    # Told before the golden model has computed for minutes.
    toolchain.environment()
    with shown() as progress, about(artifact_path):
        result = simulate(
            artifact, hardware or configuration(config_name), given, layer=layer, batch=batch, waves=waves, progress=progress
        )

    if output is not None:
        keep(output, report_data(artifact, result, None))

    def show() -> None:
        facts(
            {
                "compared": result.comparison,
                "pictures": result.images,
                **({"cycles a run": f"{result.cycles:,}, of {batch} pictures"} if batch > 1 else {}),
                "cycles a picture": f"{result.cycles / batch:,.0f} (predicted {result.cycles_predicted / batch:,.0f})",
                "MACs a picture": f"{result.macs // batch:,}",
                "utilization": percent(result.utilization),
                **_waited(result.waits),
                **({"waveform": result.waves} if result.waves else {}),
            }
        )

    emit(result, as_json, show)
    context.exit(0 if result.comparison.equal else EXIT_DIFFERS)


def _waited(waits: "tuple[Wait, ...]") -> dict[str, str]:
    """A line a unit that waited, with the cycles and what for."""
    lines: dict[str, list[str]] = {}
    for wait in waits:
        if wait.cycles:
            lines.setdefault(f"{wait.unit} waited", []).append(f"{wait.cycles:,} cycles for {wait.awaited}")
    return {unit: ", ".join(parts) for unit, parts in lines.items()}
