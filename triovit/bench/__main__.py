"""``python -m triovit.bench``: take the measurements that are missing and write docs/results.md."""

import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

import click

from triovit import files
from triovit.bench.peers.task import SHARED
from triovit.bench.results import render
from triovit.bench.runner import Result, Runner
from triovit.bench.store import ROOT
from triovit.bench.summary import Case, cases, summarise
from triovit.errors import UserError

_PROGRAM = "python -m triovit.bench"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Measure rows whose names match, like 'ablation/b0/*'; repeatable."
)
@click.option("--skip", multiple=True, metavar="PATTERN", help="Measure no rows whose names match; repeatable.")
@click.option("--list", "listed", is_flag=True, help="Print the rows' names and measure nothing.")
@click.option(
    "--shared",
    type=click.Path(path_type=Path),
    default=SHARED,
    metavar="DIR",
    help="Where models/ and data/ are; beside the project.",
)
@click.option(
    "--directory", type=click.Path(path_type=Path), default=ROOT / "build" / "bench-quant", metavar="DIR", help="Keeps results."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=ROOT / "docs" / "results.md", metavar="FILE", help="The page."
)
def command(only: tuple[str, ...], skip: tuple[str, ...], listed: bool, shared: Path, directory: Path, output: Path) -> None:
    """Measure the quantizer and the others, and write the page of results.

    What was measured is kept with what it depends on, and not measured again. Rows that are not selected show what is kept.
    """
    every = cases()
    selected = [case for case in every if _selected(case.name, only, skip)]
    if not selected:
        raise UserError("--only and --skip: select no row; --list prints the names")
    if listed:
        click.echo("\n".join(case.name for case in selected))
        return
    failed = measure(selected, Runner(directory, shared, measuring=True))
    kept = Runner(directory, shared, measuring=False)
    summary = summarise([(case, failed.get(case.name) or case.take(kept)) for case in every])
    files.write_json(directory / "summary.json", summary)
    files.write_text(output, render(summary))
    click.echo(f"{output}: {len(every)} rows, {sum('missing' in row for row in _rows(summary))} of them not measured")
    if failed:
        click.echo(f"failed: {', '.join(failed)}", err=True)
        sys.exit(1)


def measure(selected: list[Case], runner: Runner) -> dict[str, Result]:
    """Measure what is not kept; return the results of cases that failed, by name.

    Says on standard error which case is next, and how long the rest would take at the pace so far.
    """
    todo = []
    for case in selected:
        asking = Runner(runner.directory, runner.shared, measuring=False)
        case.take(asking)
        if asking.missing:
            todo.append(case)
    begun, failed = time.monotonic(), {}
    for done, case in enumerate(todo):
        left = f", about {(time.monotonic() - begun) / done * (len(todo) - done) / 60:.0f} min left" if done else ""
        click.echo(f"bench {done + 1}/{len(todo)}: {case.name}{left}", err=True)
        result = case.take(runner)
        if "missing" in result:
            failed[case.name] = result
    return failed


def _selected(name: str, only: tuple[str, ...], skip: tuple[str, ...]) -> bool:
    wanted = not only or any(fnmatch(name, pattern) for pattern in only)
    return wanted and not any(fnmatch(name, pattern) for pattern in skip)


def _rows(summary: Result) -> list[Result]:
    return [row for rows in summary.values() if isinstance(rows, list) for row in rows]


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run and leave with exit code 0, 1 where a measurement failed, or 2 after one line about what the user can mend."""
    try:
        command.main(None if words is None else list(words), _PROGRAM, standalone_mode=False)
    except (UserError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"error: {' '.join(text.split())}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was measured is kept", err=True)
        sys.exit(130)
    sys.exit(0)


if __name__ == "__main__":
    main()
