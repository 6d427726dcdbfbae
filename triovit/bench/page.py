"""docs/results.md: a part for each bench, between lines that name it, so that none of them touches another's."""

from pathlib import Path

from triovit import files
from triovit.errors import UserError

#: The parts in their order, with the command that writes each.
PARTS = {"accelerator": "make bench", "quantizer": "make bench-quant"}


def check(path: Path) -> None:
    """Refuse a file that is there and is no such page.

    Raises
    ------
    UserError
        Names the file.
    """
    _read(path)


def write(path: Path, part: str, text: str) -> None:
    """Put ``text`` in the place of a part; the others stay as they are.

    Raises
    ------
    UserError
        A file that is there and is no such page, or cannot be written.
    """
    parts = {**_read(path), part: text.strip("\n")}
    blocks = [f"{_begin(name)}\n\n{parts[name]}\n\n{_end(name)}\n" for name in PARTS if name in parts]
    files.write_text(path, "\n".join(blocks))


def part(path: Path, name: str) -> str:
    """The text of a part; empty where the page has none.

    Raises
    ------
    UserError
        As `check`.
    """
    return _read(path).get(name, "")


def _begin(name: str) -> str:
    return f"<!-- {name}: written by `{PARTS[name]}` -->"


def _end(name: str) -> str:
    return f"<!-- end of {name} -->"


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    found = {}
    for name in PARTS:
        _, begin, rest = text.partition(_begin(name))
        inside, end, _ = rest.partition(_end(name))
        if begin and end:
            found[name] = inside.strip("\n")
    if not found:
        raise UserError(f"{path}: holds no part of a bench, so it is not replaced; choose another file")
    return found
