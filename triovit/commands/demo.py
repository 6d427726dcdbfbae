"""``triovit demo``: the whole road on the built-in network."""

from pathlib import Path

import click

from triovit.cli import EXIT_DIFFERS
from triovit.options import config_option
from triovit.output import emit, facts, json_option, percent
from triovit.progress import shown


@click.command("demo")
@click.option("--images", type=click.IntRange(1, 360), default=2, show_default=True, help="Held-out digits to simulate.")
@config_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("build/demo"),
    show_default=True,
    metavar="DIR",
    help="Where it goes.",
)
@json_option
@click.pass_context
def command(context: click.Context, images: int, config_name: str, output: Path, as_json: str | None) -> None:
    """Take the built-in network, trained on handwritten digits, all the way to bit-exact Verilog.

    The exit code is 1 when a value in the simulated hardware differs from the golden model.
    """
    from triovit.demo import demo

    with shown() as progress:
        summary = demo(output, images, config_name, progress)

    def show() -> None:
        verdict = (
            "yes" if summary["bit_exact"] else f"NO: {summary['mismatches']} values differ, first {summary['first_difference']}"
        )
        facts(
            {
                "bit-exact": verdict,
                "compared": f"{summary['layers_compared']} layers, {summary['images']} pictures",
                "accuracy": f"{percent(summary['int_accuracy'])} in integers, {percent(summary['float_accuracy'])} in float",
                "cycles a picture": f"{summary['cycles']:,}, predicted {summary['cycles_predicted']:,}",
                "utilization": f"{percent(summary['utilization'])} of {summary['configuration']}, {summary['macs']:,} MACs",
                "Verilog": summary["verilog"],
                "report": summary["report"],
                "summary": output / "summary.json",
                "time": ", ".join(f"{name} {seconds:.1f} s" for name, seconds in summary["seconds"].items()),
            }
        )

    emit(summary, as_json, show)
    context.exit(0 if summary["bit_exact"] else EXIT_DIFFERS)
