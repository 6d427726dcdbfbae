"""``triovit quantize``: a float network to integers."""

import shutil
from pathlib import Path
from typing import Any

import click

from quant.contract import CODE_WIDTHS, Z_WIDTHS
from quant.ptq.options import LEARNED_STEPS, METHODS
from triovit import files, pictures
from triovit.errors import UserError, about
from triovit.options import classes_option, labels_option, res_option, size_option
from triovit.output import emit, facts, json_option, percent
from triovit.progress import Progress, shown


@click.command("quantize")
@click.argument("model")
@click.option("--calib", required=True, metavar="DATA", help="Calibration pictures: digits (those to train with) or a folder.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="ARTIFACT", help="Directory to write.")
@click.option("--pictures", "count", type=click.IntRange(min=1), default=256, show_default=True, help="At most so many of them.")
@click.option("--score", metavar="DATA", help="Pictures to score the float network on: digits (those held out) or a folder.")
@labels_option
@classes_option
@res_option
@size_option
@click.option(
    "--float/--no-float",
    "with_float",
    default=True,
    show_default=True,
    help="Put the float network into the artifact, so that evaluate can run it.",
)
@click.option(
    "--activations",
    type=click.Choice(METHODS),
    default="mse",
    show_default=True,
    help="How activation ranges are chosen.",
)
@click.option(
    "--weights", type=click.Choice(["minmax", "mse"]), default="mse", show_default=True, help="How weight ranges are chosen."
)
@click.option("--migration/--no-migration", default=True, show_default=True, help="Channel-wise migration.")
@click.option("--shifting/--no-shifting", default=True, show_default=True, help="Filter-wise shifting.")
@click.option("--log2-divisors/--no-log2-divisors", default=True, show_default=True, help="Log2 divisors in attention.")
@click.option(
    "--code-bits",
    type=click.Choice(CODE_WIDTHS),
    default=10,
    show_default=True,
    help="Bits of a divisor's code: 4, the paper's, or 10, with six fraction bits.",
)
@click.option(
    "--z-bits",
    type=click.Choice(Z_WIDTHS),
    default=15,
    show_default=True,
    help="Bits of attention's K^T V: 8, the paper's, or 15, which takes the hardware a second pass.",
)
@click.option(
    "--equalization/--no-equalization",
    default=True,
    show_default=True,
    help="A range of its own for every channel wherever the hardware takes it for nothing, migration and shifting included.",
)
@click.option(
    "--bias-correction/--no-bias-correction",
    default=True,
    show_default=True,
    help="Biases take up what the weights' rounding does to the mean.",
)
@click.option(
    "--compensation/--no-compensation",
    default=True,
    show_default=True,
    help="Round a row's weights one after the other, each error made up for by the next.",
)
@click.option(
    "--output-effect/--no-output-effect",
    default=True,
    show_default=True,
    help="With equalization: the channels' ranges by their rounding's effect on the output.",
)
@click.option(
    "--reconstruct/--no-reconstruct",
    "reconstruction",
    default=False,
    show_default=True,
    help="Learn attention's steps, biases and the weights' rounding block by block. Takes minutes; if it is interrupted, the "
    "same command goes on from the last finished block.",
)
@click.option(
    "--learned-steps",
    type=click.Choice(LEARNED_STEPS),
    default="attention",
    show_default=True,
    help="The activations whose steps are learned, with --reconstruct.",
)
@click.option("--iterations", type=click.IntRange(min=1), default=100, show_default=True, help="Of a block, with --reconstruct.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random choices, with --reconstruct."
)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where --reconstruct learns."
)
@json_option
def command(
    model: str,
    calib: str,
    output: Path,
    count: int,
    score: str | None,
    labels: str | None,
    classes: str | None,
    resolution: tuple[int, int] | None,
    size: tuple[int, int] | None,
    with_float: bool,
    device: str,
    as_json: str | None,
    **settings: Any,
) -> None:
    """Quantize MODEL, a name (digits) or a checkpoint file, and write the artifact.

    The float network's score goes with the artifact: of the built-in network always, of others with --score (and for segmentation
    --labels).
    """
    if resolution is not None and size is not None:
        raise UserError("--res and --size: both say the picture's size; give one")
    if score is None and (labels, classes) != (None, None):
        raise UserError("--labels and --classes: say how to score the float network; name the pictures with --score")
    with shown() as progress:
        result = quantize(
            model,
            calib,
            output,
            resolution=resolution or size,
            count=count,
            score=score,
            labels=labels,
            classes=classes,
            with_float=with_float,
            device=device,
            settings=settings,
            progress=progress,
        )

    emit(
        result,
        as_json,
        lambda: facts(
            {
                "artifact": output,
                "network": result["network"],
                "layers": result["layers"],
                "calibration pictures": result["pictures"],
                "float network": percent(result["float"].get("score")),
            }
        ),
    )


def quantize(
    model: str,
    calib: str,
    output: Path,
    *,
    resolution: tuple[int, int] | None,
    count: int,
    score: str | None,
    labels: str | None,
    classes: str | None,
    with_float: bool,
    device: str,
    settings: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Load, calibrate, quantize, write; return what was done.

    The finished blocks of a reconstruction lie in the directory ``<output>.blocks`` until the artifact is written.
    """
    from quant.artifact import MANIFEST, SCHEMA
    from quant.checkpoints import load
    from quant.ptq.options import Options
    from quant.quantize import quantize as quantized
    from triovit.float_network import float_score

    files.check_place(output, MANIFEST, SCHEMA)
    blocks = output.absolute().with_name(f"{output.absolute().name}.blocks")
    network = load(model, resolution)
    spec = network.spec
    built_in = (pictures.DIGITS, pictures.DIGITS_SIZE, pictures.DIGITS_CLASSES)
    if score is None and (spec.name, spec.resolution, spec.classes) == built_in:
        score = pictures.DIGITS
    described = {"name": spec.name, "task": spec.task, "classes": spec.classes, "resolution": spec.resolution}
    given = None if score is None else pictures.to_score(score, labels, described, None, progress, classes=classes)
    calibration = pictures.calibration(calib, spec.resolution, count, progress, task=spec.task)
    with about(model):
        artifact = quantized(network, calibration, Options(**settings), state=blocks, device=device, progress=progress)
    if given is not None:
        artifact.float_score = float_score(network, given, progress)
    if not with_float:
        artifact.float_weights = None
    artifact.save(output)
    if settings["reconstruction"]:
        shutil.rmtree(blocks)
    return {
        "artifact": output,
        "network": artifact.network["name"],
        "layers": len(artifact.layers),
        "pictures": len(calibration),
        "settings": settings,
        "float": artifact.float_score,
    }
