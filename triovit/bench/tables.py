"""Markdown tables of rows that may have no numbers, and then say why."""

from collections.abc import Callable, Iterable, Sequence
from textwrap import fill
from typing import Any

Row = dict[str, Any]
Columns = dict[str, Callable[[Row], str]]

#: Where lines of text are broken.
WIDTH = 130


def section(title: str, command: str, about: str, columns: Columns, rows: Iterable[Row], named: int) -> str:
    """A heading, the command that measures the rows, a paragraph and their `table`."""
    return f"## {title}\n\n    {command}\n\n{paragraph(about)}\n\n{table(columns, rows, named)}"


def paragraph(words: str) -> str:
    """The words in lines."""
    return fill(words, WIDTH, break_long_words=False, break_on_hyphens=False)


def table(columns: Columns, rows: Iterable[Row], named: int) -> str:
    """A table; the first ``named`` columns tell what a row is, and of one without numbers the next says why."""
    heads = list(columns)
    lines = [_line(heads), _line(["---"] * named + ["---:"] * (len(heads) - named))]
    for row in rows:
        cells = [content(row) for content in list(columns.values())[:named]]
        why = reason(row)
        if why is None:
            cells += [content(row) for content in list(columns.values())[named:]]
        else:
            cells += [why, *[""] * (len(heads) - named - 1)]
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("  |", " |")


def reason(row: Row) -> str | None:
    """Why a row has no numbers; None where it has."""
    if "missing" in row:
        return row["missing"] if row["missing"] == "not measured" else f"not measured: {cell(row['missing'])}"
    return f"error: {cell(row['error'])}" if row.get("error") else None


def cell(words: str) -> str:
    """A text of one line that leaves the table whole."""
    return " ".join(words.split()).replace("|", "\\|")


def text(name: str) -> Callable[[Row], str]:
    """A column of texts."""
    return lambda row: cell(str(row.get(name, "")))


def percent(name: str) -> Callable[[Row], str]:
    """A column of shares, in percent."""
    return lambda row: "" if row.get(name) is None else f"{100 * row[name]:.2f}"


def number(name: str, digits: int) -> Callable[[Row], str]:
    """A column of numbers; empty where there is none."""
    return lambda row: "" if row.get(name) is None else f"{row[name]:,.{digits}f}"


def megabytes(row: Row) -> str:
    """The column of the memory that a process held."""
    return f"{row['peak_bytes'] / 1e6:,.0f}"
