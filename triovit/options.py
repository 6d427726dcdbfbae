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


res_option = click.option(
    "--res", "resolution", type=Resolution(), metavar="N|HxW", help="Size of the picture; by default the network's own."
)
config_option = click.option(
    "--config", "config_name", default="toy", show_default=True, metavar="NAME", help="Configuration: toy or zcu102."
)
artifact_argument = click.argument("artifact_path", metavar="ARTIFACT", type=click.Path(path_type=Path))
