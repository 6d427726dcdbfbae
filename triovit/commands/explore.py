"""``triovit explore``: which accelerators a board holds, how fast each is, and what bounds it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from triovit import files
from triovit.options import Numbers, batch_option, res_option
from triovit.output import emit, facts, json_option, plain, table
from triovit.progress import shown

if TYPE_CHECKING:
    from sim.explore import Exploration

F = TypeVar("F", bound=Callable[..., Any])

#: The document's name in its directory.
DOCUMENT = "explore.json"
#: Bounds of a point that the table names, the largest first.
_NAMED = 3


def _axis(option: str, text: str, smallest: int = 1) -> Callable[[F], F]:
    """An option with the values of an axis of the space."""
    return click.option(option, type=Numbers(smallest), metavar="N,N,..", help=text)


@click.command("explore")
@click.option("--model", required=True, metavar="MODEL", help="A name (b0 .. b3, digits) or a checkpoint file.")
@click.option("--board", "board_name", default="zcu102", show_default=True, metavar="BOARD", help="zcu102, zcu104 or kv260.")
@res_option
@batch_option
@click.option("--clock", type=click.FloatRange(1, 1000), default=200, show_default=True, metavar="MHZ", help="Clock.")
@click.option(
    "--latency", type=click.IntRange(0, 10_000), default=60, show_default=True, metavar="CYCLES",
    help="From a request to the memory to its first beat.",
)
@click.option(
    "--lut-share", type=click.IntRange(1, 100), default=40, show_default=True, metavar="PERCENT",
    help="Of the board's LUTs, for those that are counted: memories and multipliers. The rest is for all other gates.",
)
@_axis("--m", "Lanes and inputs of a block: N = M = T = S.")
@_axis("--l", "Blocks.")
@_axis("--weight-rows", "Rows of the weight rings.")
@_axis("--param-rows", "Rows of the parameter rings, half of both together.")
@_axis("--z-rows", "Rows of the Z buffer.")
@_axis("--divisor-rows", "Rows of the divisor buffer.")
@_axis("--burst", "Beats of the longest burst.")
@_axis("--buffers", "Rows of H, D, X, Y and O, in percent of the least that the network compiles with.", 100)
@_axis("--first-dsp", "Slots whose requantizers are DSPs, in percent.", 0)
@_axis("--second-dsp", "Slots whose second steps are DSPs, in percent.", 0)
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Points at a time; all cores by default.")
@click.option(
    "--backend", default="loky", show_default=True, metavar="NAME",
    help="Of joblib: loky, threading, multiprocessing, sequential, dask or ray.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Leave explore.json and explore.html here.")
@json_option
def command(
    model: str,
    board_name: str,
    resolution: tuple[int, int] | None,
    batch: int,
    clock: float,
    latency: int,
    lut_share: int,
    jobs: int | None,
    backend: str,
    output: Path | None,
    as_json: str | None,
    **axes: tuple[int, ...] | None,
) -> None:
    """Try a grid of configurations for MODEL on a board: cycles from the cycle model, resources by count.

    Shows the points that no other one beats in FPS, DSPs and block RAMs, and which bound each hits.
    """
    from boards import board
    from quant.checkpoints import load
    from quant.networks.spec import SPECS, spec
    from sim.explore import Setting, Space, explore, write_page

    if output is not None:
        files.check_place(output)
    network = spec(model) if model in SPECS or not Path(model).suffix else load(model).spec
    network = network if resolution is None else network.at(resolution)
    given = {{"burst": "axi_burst"}.get(name, name): values for name, values in axes.items() if values is not None}
    with shown() as progress:
        found = explore(
            network,
            Setting(board(board_name), clock, latency, lut_share / 100, batch),
            Space(**given),
            jobs=jobs,
            backend=backend,
            progress=progress,
        )
    document = plain(found.to_dict())
    if output is not None:
        files.write_json(output / DOCUMENT, document)
        write_page(output, found)
    emit(document, as_json, lambda: _show(found, output))


def _pictures(batch: int) -> str:
    return "one picture at a time" if batch == 1 else f"{batch} pictures a run"


def _show(found: "Exploration", output: Path | None) -> None:
    head = ("point", "cycles", "FPS", "GOPS", "utilization", "DSP", "BRAM36", "LUT", "bound")
    table(
        head,
        [
            (
                point.name,
                f"{point.cycles / point.pictures:,.0f}",
                f"{point.fps:,.1f}",
                f"{point.gops:,.1f}",
                f"{point.utilization:.1%}",
                f"{point.resources['dsp']:,} {point.shares['dsp']:.0%}",
                f"{point.resources['bram36']:,g} {point.shares['bram36']:.0%}",
                f"{point.resources['lut']:,} {point.shares['lut']:.0%}",
                _bounds(point.bounds, point.cycles),
            )
            for point in map(found.named, found.pareto)
        ],
        right=head[1:-1],
    )
    height, width = found.resolution
    fitting = sum(point.fits for point in found.points)
    click.echo()
    facts(
        {
            "network": f"{found.network} at {height}x{width}, {_pictures(found.setting.batch)}",
            "board": f"{found.setting.board.name} ({found.setting.board.part}) at {found.setting.clock_mhz:g} MHz",
            "points": f"{len(found.points)}: {fitting} fit, {len(found.points) - fitting} are too large; shown: the best",
            **_refusals(found),
            **({"report": output / "explore.html"} if output else {}),
        }
    )


def _bounds(shares: Mapping[str, int], cycles: int) -> str:
    """The largest parts of a point's cycles."""
    largest = sorted(shares.items(), key=lambda item: -item[1])[:_NAMED]
    return ", ".join(f"{bound} {share / cycles:.0%}" for bound, share in largest if share)


def _refusals(found: "Exploration") -> dict[str, str]:
    if not found.refused:
        return {}
    return {"refused": f"{len(found.refused)} sizes, the first: {found.refused[0].reason}"}
