"""``triovit evaluate``: accuracy of the integer network beside the float one."""

from pathlib import Path

import click

from triovit import pictures
from triovit.errors import about
from triovit.options import artifact_argument, classes_option, labels_option, size_option
from triovit.output import emit, facts, json_option, percent
from triovit.progress import shown


@click.command("evaluate")
@artifact_argument
@click.option("--data", required=True, metavar="DATA", help="Pictures: digits (those held out) or a folder.")
@labels_option
@classes_option
@size_option
@click.option(
    "--model", metavar="MODEL", help="The float network to compare with, where it is not the artifact's own: a name or a file."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N pictures.")
@json_option
def command(
    artifact_path: Path,
    data: str,
    labels: str | None,
    classes: str | None,
    size: tuple[int, int] | None,
    model: str | None,
    limit: int | None,
    as_json: str | None,
) -> None:
    """Measure the accuracy of the integer network ARTIFACT, computed in NumPy, beside the float network's.

    A classifier is scored (top1) with a folder that has one folder a class, a segmentation network (miou) with a folder of
    pictures and --labels, a folder of label maps.
    """
    from quant.artifact import Artifact
    from quant.resize import resized
    from sim.evaluate import evaluate
    from sim.golden.model import GoldenModel
    from triovit import float_network

    artifact = Artifact.load(artifact_path)
    if size is not None:
        with about(artifact_path):
            artifact = resized(artifact, size)
    with shown() as progress, about(artifact_path):
        given = pictures.to_score(data, labels, artifact.network, limit, progress, classes=classes)
        network = float_network.beside(artifact, artifact_path, model)
        result = evaluate(
            GoldenModel(artifact),
            given.pictures,
            given.labels,
            classes=given.classes,
            float_network=network,
            progress=progress,
        )

    scored = artifact.float_score.get("images")
    others = network is None and result.float_score is not None and scored != result.images
    remark = f" (of {scored} pictures, when it was quantized)" if others else ""

    def show() -> None:
        segmentation = given.classes is not None
        facts(
            {
                "metric": result.metric if result.classes is None else f"{result.metric} of {result.classes}",
                "pictures": result.images,
                "integer network": percent(result.int_score),
                "float network": percent(result.float_score) + remark,
                "same class": percent(result.agreement),
                **({"right pixels, integer": percent(result.int_pixel_accuracy)} if segmentation else {}),
                **({"right pixels, float": percent(result.float_pixel_accuracy)} if segmentation else {}),
                "pictures a second": f"{result.images_per_second:.1f}",
            }
        )

    emit(result, as_json, show)
