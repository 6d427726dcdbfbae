"""``triovit export``: the integer network in another program's format, and how far that is from the integers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triovit import files, pictures
from triovit.errors import UserError
from triovit.options import artifact_argument
from triovit.output import emit, facts, json_option, percent, table
from triovit.progress import Progress, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from quant.artifact import Artifact

_PACKAGES = ("onnx", "onnxruntime")


@click.command("export")
@artifact_argument
@click.option("--onnx", "path", required=True, type=click.Path(path_type=Path), metavar="FILE", help="ONNX file to write.")
@click.option(
    "--check", metavar="DATA", help="Compare with the integer network on pictures: digits (those held out) or a folder."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N pictures.")
@json_option
def command(artifact_path: Path, path: Path, check: str | None, limit: int | None, as_json: str | None) -> None:
    """Write the integer network ARTIFACT as ONNX: int8 behind QuantizeLinear and DequantizeLinear, real operators in between.

    Runtimes round otherwise than the integer network does; --check runs both and reports what comes of it, layer by layer.
    """
    from quant.artifact import Artifact

    if limit is not None and check is None:
        raise click.UsageError("--limit needs --check", click.get_current_context())
    artifact = Artifact.load(artifact_path)
    with shown() as progress:
        try:
            result = export(artifact, path, check, limit, progress)
        except ModuleNotFoundError as error:
            if error.name not in _PACKAGES:
                raise
            raise UserError(f"{path}: needs the Python package {error.name}; run pip install {error.name}") from error

    emit(result, as_json, lambda: _show(result))


def export(artifact: "Artifact", path: Path, data: str | None, limit: int | None, progress: Progress) -> dict[str, Any]:
    """Read the pictures, write the file, run the check; return what was done. Nothing is written if the pictures are bad."""
    from quant.onnx.model import to_bytes, to_onnx

    given = None if data is None else _pictures(artifact, data, limit, progress)
    model = to_onnx(artifact)
    content = to_bytes(model)
    found = None
    if given is not None:
        from quant.onnx.check import check
        from sim.golden.model import GoldenModel

        golden = GoldenModel(artifact)
        found = check(model, artifact, lambda part: golden.run(part).tensors, given, progress)
    files.write_bytes(path, content)
    return {
        "onnx": path,
        "network": artifact.network["name"],
        "nodes": len(model.graph.node),
        "bytes": len(content),
        "check": found,
    }


def _pictures(artifact: "Artifact", data: str, limit: int | None, progress: Progress) -> "NDArray[np.uint8]":
    """At most ``limit`` pictures: the digits held out, or those of a folder, which needs no classes here."""
    from quant.data import image_folder

    _, height, width = artifact.input_shape
    if data == pictures.DIGITS:
        return pictures.held_out((height, width)).pictures[:limit]
    return image_folder(data, (height, width), limit, progress)[0]


def _show(result: dict[str, Any]) -> None:
    rows = {"file": result["onnx"], "network": result["network"], "nodes": result["nodes"], "bytes": f"{result['bytes']:,}"}
    found = result["check"]
    if found is None:
        facts(rows)
        return
    table(
        ("layer", "alone: mean", "largest", "equal", "in the network: mean"),
        [
            (row.layer, f"{row.alone:.4f}", f"{row.alone_worst:.0f}", percent(row.alone_equal), f"{row.together:.3f}")
            for row in found.layers
        ],
        right=("alone: mean", "largest", "equal", "in the network: mean"),
    )
    click.echo()
    facts(
        {
            **rows,
            "pictures": found.images,
            "same class": percent(found.agreement),
            "mean difference": f"{found.mean_difference:.2f} steps of the output",
            "largest difference": f"{found.worst_difference:.2f} steps of the output",
        }
    )
