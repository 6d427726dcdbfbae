"""What the commands print: a table for people, or one JSON document for programs."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from triovit import files
from triovit.errors import UserError

#: Where JSON goes that is printed.
STDOUT = "-"


def _writable(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """``value``, unless it is a file that cannot appear: told before the work."""
    if value is None or value == STDOUT or context.resilient_parsing:
        return value
    if Path(value).is_dir():
        raise UserError(f"{value}: is a directory; give --json a file")
    files.check_place(Path(value).absolute().parent)
    return value


#: The option that every command has: None, `STDOUT` or the name of a file.
json_option = click.option(
    "--json",
    "as_json",
    is_flag=False,
    flag_value=STDOUT,
    callback=_writable,
    metavar="[FILE]",
    help="Print one JSON document instead of text; with FILE write it there, beside the text.",
)


def prints_json(words: Sequence[str]) -> bool:
    """Whether these words of a command line ask for JSON on standard output."""
    values = (words[place + 1 : place + 2] or [STDOUT] for place, word in enumerate(words) if word == "--json")
    return f"--json={STDOUT}" in words or any(value.startswith("-") for (value,) in values)


def plain(value: Any) -> Any:
    """``value`` in JSON's types: dataclasses and named tuples become objects, arrays lists, paths text, NaN and infinity null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return plain(dict(zip(value._fields, value, strict=True)))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def emit(result: Any, as_json: str | None, show: Callable[[], None]) -> None:
    """Print ``result`` as JSON, or call ``show`` to print it for people after writing JSON to the file that ``as_json`` names.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    if as_json == STDOUT:
        click.echo(json.dumps(plain(result), indent=2, allow_nan=False))
        return
    if as_json is not None:
        files.write_json(as_json, plain(result))
    show()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()) -> None:
    """Print a table, ``right`` columns flush right; as wide as it needs to be where there is no terminal to fit."""
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    console.print(grid)


def facts(values: Mapping[str, object]) -> None:
    """Print names and values, one a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {value}")


def percent(share: float | None) -> str:
    """``0.975`` as ``97.50%``; a dash for None."""
    return "-" if share is None else f"{share:.2%}"
