"""``triovit inspect``: the layer table."""

from pathlib import Path

import click

from triovit.options import res_option
from triovit.output import emit, facts, json_option, table


@click.command("inspect")
@click.argument("model")
@res_option
@json_option
def command(model: str, resolution: tuple[int, int] | None, as_json: str | None) -> None:
    """Show the layers of MODEL: a name (digits, b0 .. b3, b0-seg) or a checkpoint file.

    A network that cannot be mapped is refused with the layer, the reason and the remedy.
    """
    from quant.checkpoints import load
    from quant.inspect import layer_table
    from quant.networks.spec import SPECS, spec

    network = spec(model) if model in SPECS or not Path(model).suffix else load(model).spec
    found = layer_table(network if resolution is None else network.at(resolution))

    def show() -> None:
        columns = ("layer", "operation", "engine", "in", "out", "kernel", "stride", "groups", "activation", "weights", "MACs")
        table(
            columns,
            [
                (
                    row.layer,
                    row.op,
                    row.engine,
                    f"{row.c_in}x{row.h_in}x{row.w_in}",
                    f"{row.c_out}x{row.h_out}x{row.w_out}",
                    row.kernel or "",
                    row.stride or "",
                    row.groups or "",
                    row.activation,
                    f"{row.weights:,}",
                    f"{row.macs:,}",
                )
                for row in found.rows
            ],
            right=("kernel", "stride", "groups", "weights", "MACs"),
        )
        click.echo()
        height, width = found.resolution
        facts(
            {
                "network": f"{found.network} at {height}x{width}",
                "layers": len(found.rows),
                "parameters": f"{found.parameters:,}",
                "weights": f"{found.weights:,}",
                "MACs": f"{found.macs:,}",
            }
        )

    emit(found.to_dict(), as_json, show)
