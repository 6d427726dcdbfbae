"""Options and arguments that several commands share."""

import re
from pathlib import Path

import click


class Resolution(click.ParamType[tuple[int, int]]):
    """``224`` for a square picture, or ``512x1024``: height x width."""

    name = "resolution"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The height and width."""
        match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", str(value))
        if match is None:
            self.fail(f"{value} is no resolution; give one like 224 or 512x1024", param, ctx)
        return int(match[1]), int(match[2] or match[1])


class Size(click.ParamType[tuple[int, int]]):
    """``960x736``: width x height."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The height and width."""
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(value))
        if match is None:
            self.fail(f"{value} is no size; give width and height like 960x736", param, ctx)
        return int(match[2]), int(match[1])


class Numbers(click.ParamType[tuple[int, ...]]):
    """``8,16,32``: whole numbers, each once, in their order."""

    name = "numbers"

    def __init__(self, smallest: int):
        self.smallest = smallest

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers."""
        if re.fullmatch(r"\d{1,9}(,\d{1,9})*", str(value)) is None:
            self.fail(f"{value} is no list of numbers; give some like 8,16,32", param, ctx)
        numbers = tuple(dict.fromkeys(int(word) for word in str(value).split(",")))
        if min(numbers) < self.smallest:
            self.fail(f"{min(numbers)} is too small; give {self.smallest} or more", param, ctx)
        return numbers


res_option = click.option(
    "--res", "resolution", type=Resolution(), metavar="N|HxW", help="Size of the picture; by default the network's own."
)
size_option = click.option("--size", type=Size(), metavar="WxH", help="Size of the picture, the width first.")
labels_option = click.option(
    "--labels", metavar="LABELS", help="For segmentation: the folder of label maps, with the pictures' file names."
)
classes_option = click.option(
    "--classes",
    type=click.Choice(["camvid", "network"]),
    help="What the values of label maps mean: CamVid's 11 classes, or the network's own and 255 for void. "
    "By default camvid for a network of Cityscapes' 19 classes where no label exceeds 11.",
)
config_option = click.option(
    "--config", "config_name", default="toy", show_default=True, metavar="NAME", help="Configuration: toy or zcu102."
)
batch_option = click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Pictures of a run. Of several the next one is loaded beside the last layers, and the weights behind pooling serve all.",
)
artifact_argument = click.argument("artifact_path", metavar="ARTIFACT", type=click.Path(path_type=Path))
