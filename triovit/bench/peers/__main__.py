"""``python -m triovit.bench.peers``: measure one tool on one network."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import click

from triovit.bench.peers.measure import measure
from triovit.bench.peers.task import RESOLUTIONS, SHARED, task
from triovit.bench.peers.tools import TOOLS
from triovit.errors import UserError
from triovit.options import size_option
from triovit.output import emit, facts, json_option, percent
from triovit.progress import Progress, shown

_PROGRAM = "python -m triovit.bench.peers"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--tool", "tool_name", required=True, type=click.Choice(list(TOOLS)))
@click.option("--network", "network_name", required=True, type=click.Choice(list(RESOLUTIONS)))
@size_option
@click.option("--setting", metavar="NAME", help="One of the tool's settings; by default the best found.")
@click.option(
    "--shared",
    type=click.Path(path_type=Path),
    default=SHARED,
    metavar="DIR",
    help="Where models/ and data/ are; beside the project.",
)
@json_option
def command(
    tool_name: str,
    network_name: str,
    size: tuple[int, int] | None,
    setting: str | None,
    shared: Path,
    as_json: str | None,
) -> None:
    """Quantize a network with another tool and score it beside the float network, on the pictures that triovit is scored with.

    A tool that fails is an outcome: `error` quotes it, and the exit code is 0.
    """
    with shown() as progress:
        result = run(tool_name, network_name, size, setting, shared, progress)
    emit(
        result,
        as_json,
        lambda: facts(
            {
                "tool": f"{result['tool']} {result['version']}",
                "setting": result["setting"],
                "float network": percent(result["float_score"]),
                "quantized network": percent(result["score"]),
                "same class": percent(result["agreement"]),
                "error": result["error"] or "-",
            }
        ),
    )


def run(
    tool_name: str,
    network_name: str,
    resolution: tuple[int, int] | None,
    setting: str | None,
    shared: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Measure one of `TOOLS` on one of the networks; return the JSON document.

    Raises
    ------
    UserError
        An unknown setting, a tool that is not installed, a size that the network does not take, a missing checkpoint or folder.
    """
    tool = TOOLS[tool_name]
    chosen = setting or next(iter(tool.settings))
    if chosen not in tool.settings:
        raise UserError(f"--setting {chosen}: {tool_name} has no such setting; choose one of {', '.join(tool.settings)}")
    made_by = tool.version
    height, width = resolution or RESOLUTIONS[network_name]
    given = task(network_name, (height, width), shared, progress)
    found = measure(given, tool.quantize, chosen, progress)
    return {
        "tool": tool_name,
        "version": made_by,
        "torch": version("torch"),
        "network": network_name,
        "size": f"{width}x{height}",
        "metric": found.metric,
        "float_score": found.float_score,
        "score": found.score,
        "agreement": found.agreement,
        "seconds_quantize": found.seconds_quantize,
        "setting": f"{chosen}: {tool.settings[chosen]}",
        "error": found.error,
    }


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run and leave with exit code 0, or 2 after one line about what the user can mend."""
    try:
        command.main(None if words is None else list(words), _PROGRAM, standalone_mode=False)
    except (UserError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"error: {' '.join(text.split())}", err=True)
        sys.exit(2)
    sys.exit(0)


if __name__ == "__main__":
    main()
