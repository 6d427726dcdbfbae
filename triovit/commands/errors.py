"""``triovit errors``: what quantization costs, tensor by tensor and quantizer by quantizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triovit import files, pictures
from triovit.errors import UserError, about
from triovit.options import artifact_argument, classes_option, labels_option
from triovit.output import emit, facts, json_option, percent, plain, table
from triovit.progress import Progress, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from quant.artifact import Artifact
    from sim.evaluate import Pictures

#: Rows of the table of effects; all of them are in the document.
_SHOWN = 20


@click.command("errors")
@artifact_argument
@click.option("--data", required=True, metavar="DATA", help="Pictures: digits (those held out) or a folder.")
@labels_option
@classes_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N pictures.")
@click.option("--effect", is_flag=True, help="Also what each quantizer by itself does to the network's output; takes minutes.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Leave what `triovit report` needs here.")
@json_option
def command(
    artifact_path: Path,
    data: str,
    labels: str | None,
    classes: str | None,
    limit: int | None,
    effect: bool,
    output: Path | None,
    as_json: str | None,
) -> None:
    """Compare every tensor of the integer network ARTIFACT with the float network's on the same pictures.

    Errors are given as SQNR, the ratio of the float values' power to the error's, in dB. With labels (a folder a class, or
    --labels for segmentation) and --effect the score's change is shown, too.
    """
    from quant.artifact import Artifact
    from triovit.run_report import ERRORS

    if not effect and (labels, classes) != (None, None):
        raise UserError("--labels and --classes: say how to score the effects; add --effect")
    if output is not None:
        files.check_place(output)
    artifact = Artifact.load(artifact_path)
    if artifact.float_weights is None:
        raise UserError(f"{artifact_path}: carries no float network to compare with; quantize again without --no-float")
    with shown() as progress, about(artifact_path):
        result = errors(artifact, artifact_path, data, labels, classes, limit, effect, progress)
    if output is not None:
        files.write_json(output / ERRORS, plain(result))
    emit(result, as_json, lambda: _show(result))


def errors(
    artifact: "Artifact",
    directory: Path,
    data: str,
    labels: str | None,
    classes: str | None,
    limit: int | None,
    effect: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Read the pictures, run both networks, return the document; ``directory`` is the artifact's."""
    from quant.float_weights import restore
    from quant.ptq.errors import Labelled, quantization_errors
    from quant.ptq.fake import FakeNetwork
    from sim.divisors import DivisorCounts
    from sim.golden.model import GoldenModel
    from sim.scoring.scores import MeanIoU, Top1
    from triovit.run_report import ranges

    given, labelled, metric = _pictures(artifact, data, limit, progress), None, None
    if effect and _is_labelled(data, labels):
        scored = pictures.to_score(data, labels, artifact.network, limit, progress, classes=classes)
        wanted = scored.classes
        given, metric = scored.pictures, "top1" if wanted is None else "miou"
        labelled = Labelled(scored.labels, Top1 if wanted is None else lambda: MeanIoU(wanted))
    golden, divisors = GoldenModel(artifact), DivisorCounts(artifact)

    def integers(part: "NDArray[np.uint8]") -> Mapping[str, "NDArray[Any]"]:
        tensors = golden.run(part).tensors
        divisors.add(tensors)
        return tensors

    fake = FakeNetwork(restore(artifact, directory), artifact, str(directory))
    found = quantization_errors(fake, integers, given, labelled=labelled, effects=effect, progress=progress)
    return {
        "schema": "triovit-errors",
        "artifact": directory,
        "network": artifact.network["name"],
        "metric": metric,
        **plain(found),
        "divisors": divisors.found(),
        "ranges": ranges(artifact),
    }


def _is_labelled(data: str, labels: str | None) -> bool:
    """Whether there is something to score with: label maps, the digits, or a folder a class."""
    return labels is not None or data == pictures.DIGITS or any(place.is_dir() for place in Path(data).glob("[!.]*"))


def _pictures(artifact: "Artifact", data: str, limit: int | None, progress: Progress) -> "Pictures":
    """At most ``limit`` pictures, which need no labels."""
    from quant.data import PictureFiles, list_pictures

    _, height, width = artifact.input_shape
    if data == pictures.DIGITS:
        return pictures.held_out((height, width)).pictures[:limit]
    return PictureFiles(list_pictures(data, limit)[0], (height, width), crop=artifact.network["task"] == "classification")


def _show(result: dict[str, Any]) -> None:
    rows: dict[str, dict[str, Any]] = {}
    for one in result["quantizers"]:
        rows.setdefault(one["layer"], {"kind": one["kind"]})[one["part"]] = one
    head = ("layer", "kind", "integer network, dB", "tensor alone", "weights alone")
    table(
        head,
        [
            (
                layer,
                row["kind"],
                _decibels(row["output"]["accumulated"]),
                _decibels(row["output"]["alone"]),
                _decibels(row["weight"]["alone"]) if "weight" in row else "",
            )
            for layer, row in rows.items()
        ],
        right=head[2:],
    )
    if result["effects"] is not None:
        _show_effects(result)
    whole = result["integer"]
    click.echo()
    facts(
        {
            "network": result["network"],
            "pictures": result["images"],
            "integer network": f"{_decibels(whole['sqnr'])} dB at the logits",
            "same class": percent(whole["agreement"]),
            **(
                {result["metric"]: f"{percent(whole['score'])}, float {percent(result['float_score'])}"}
                if result["metric"]
                else {}
            ),
        }
    )


def _show_effects(result: dict[str, Any]) -> None:
    effects = result["effects"]
    click.echo(f"\nEach quantizer alone, the {min(_SHOWN, len(effects))} most harmful of {len(effects)}:")
    head = ("layer", "part", "logits, dB", "same class", *((f"change of {result['metric']}",) if result["metric"] else ()))
    table(
        head,
        [
            (
                one["layer"],
                one["part"],
                _decibels(one["effect"]["sqnr"]),
                percent(one["effect"]["agreement"]),
                *((f"{one['effect']['score_change']:+.2%}",) if result["metric"] else ()),
            )
            for one in effects[:_SHOWN]
        ],
        right=head[2:],
    )


def _decibels(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
