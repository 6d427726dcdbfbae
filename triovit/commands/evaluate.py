"""``triovit evaluate``: accuracy of the integer network beside the float one."""

from dataclasses import replace
from pathlib import Path

import click

from triovit import pictures
from triovit.options import artifact_argument
from triovit.output import emit, facts, json_option, percent
from triovit.progress import shown


@click.command("evaluate")
@artifact_argument
@click.option("--data", required=True, metavar="DATA", help="Pictures: digits (those held out) or a folder with one a class.")
@click.option("--model", metavar="MODEL", help="Run this float network on the same pictures, too: a name or a checkpoint file.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N pictures.")
@json_option
def command(artifact_path: Path, data: str, model: str | None, limit: int | None, as_json: str | None) -> None:
    """Measure the accuracy of the integer network ARTIFACT, computed in NumPy."""
    from quant.artifact import Artifact
    from sim.evaluate import evaluate
    from sim.golden.model import GoldenModel

    artifact = Artifact.load(artifact_path)
    with shown() as progress:
        _, height, width = artifact.input_shape
        given = pictures.labelled(data, (height, width), limit, progress)
        predictions = None
        if model is not None:
            from quant.checkpoints import load
            from triovit import float_network

            predictions = float_network.predictions(load(model, (height, width)), given.pictures, progress)
        result = evaluate(GoldenModel(artifact), given.pictures, given.labels, float_predictions=predictions, progress=progress)

    if predictions is not None:
        result = replace(result, float_score=float((predictions == given.labels).mean()))
    scored = artifact.float_score.get("images")
    others = predictions is None and result.float_score is not None and scored != result.images
    remark = f" (of {scored} pictures, when it was quantized)" if others else ""

    emit(
        result,
        as_json,
        lambda: facts(
            {
                "pictures": result.images,
                "integer network": percent(result.int_score),
                "float network": percent(result.float_score) + remark,
                "same class": percent(result.agreement),
                "pictures a second": f"{result.images_per_second:.1f}",
            }
        ),
    )
