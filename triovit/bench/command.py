"""What the benches have in common: cases, what is measured of them and kept, and the command line around both."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

import click

from triovit import files
from triovit.bench import page
from triovit.bench.peers.task import SHARED
from triovit.bench.runner import Result, Runner
from triovit.bench.store import ROOT
from triovit.errors import UserError


@dataclass(frozen=True)
class Case:
    """One row of the summary: its section, what names it, and how it is measured."""

    section: str
    #: What tells it from the section's other rows; a part of the row.
    about: Result
    take: Callable[[Any], Result]
    #: Measured only where ``--only`` names it.
    long: bool = False

    @property
    def name(self) -> str:
        """``section/network/...``, for ``--only``."""
        return "/".join((self.section, *(str(value) for name, value in self.about.items() if name != "title")))


Rows = list[tuple[Case, Result]]


@dataclass(frozen=True)
class Bench:
    """A bench: its rows, what measures them, and its part of docs/results.md."""

    program: str
    help: str
    #: Where results are kept, below build/.
    directory: str
    #: The part of the page (`triovit.bench.page`).
    part: str
    runner: type[Runner]
    cases: Callable[[], list[Case]]
    summarise: Callable[[Rows], Result]
    render: Callable[[Result], str]
    #: Told of the summary and of the cases' names that were selected, it prints what it has to say and returns its complaints.
    conclude: Callable[[Result, Sequence[str]], list[str]] = lambda summary, selected: []

    def options(self, function: Callable[..., None]) -> click.Command:
        """The command of ``function`` with the options of every bench: the arguments of `run` after ``self``."""
        place = click.Path(path_type=Path)
        for option in reversed(
            (
                click.option(
                    "--only",
                    multiple=True,
                    metavar="PATTERN",
                    help=f"Measure rows whose names match, like '{self.cases()[-1].section}/*'; repeatable.",
                ),
                click.option("--skip", multiple=True, metavar="PATTERN", help="Measure no rows whose names match; repeatable."),
                click.option("--list", "listed", is_flag=True, help="Print the rows' names and measure nothing."),
                click.option(
                    "--shared",
                    type=place,
                    default=SHARED,
                    metavar="DIR",
                    help="Where models/ and data/ are; beside the project.",
                ),
                click.option(
                    "--directory", type=place, default=ROOT / "build" / self.directory, metavar="DIR", help="Keeps results."
                ),
                click.option(
                    "-o", "--output", type=place, default=ROOT / "docs" / "results.md", metavar="FILE", help="The page."
                ),
            )
        ):
            function = option(function)
        return click.command(help=self.help, context_settings={"help_option_names": ["-h", "--help"]})(function)

    def run(
        self, only: tuple[str, ...], skip: tuple[str, ...], listed: bool, shared: Path, directory: Path, output: Path
    ) -> Rows:
        """Measure what is selected and not kept, and write summary and page; return every row.

        What was measured is kept with what it depends on, and not measured again. Rows that are not selected show what is kept.
        Leaves with exit code 1 where a measurement failed, or the bench complains.

        Raises
        ------
        UserError
            Nothing is selected, or a file cannot be written.
        """
        every = self.cases()
        selected = [case for case in every if _selected(case, only, skip)]
        if not selected:
            raise UserError("--only and --skip: select no row; --list prints the names")
        if listed:
            click.echo("\n".join(case.name for case in selected))
            return []
        page.check(output)
        failed = measure(selected, self.runner(directory, shared, measuring=True))
        kept = self.runner(directory, shared, measuring=False)
        rows = [(case, failed.get(case.name) or case.take(kept)) for case in every]
        summary = self.summarise(rows)
        files.write_json(directory / "summary.json", summary)
        page.write(output, self.part, self.render(summary))
        unmeasured = sum("missing" in row for _, row in rows)
        click.echo(f"{output}: {len(rows)} rows, {unmeasured} of them not measured")
        complaints = self.conclude(summary, [case.name for case in selected])
        if failed:
            complaints.append(f"failed: {', '.join(failed)}")
        for complaint in complaints:
            click.echo(complaint, err=True)
        if complaints:
            sys.exit(1)
        return rows

    def main(self, command: click.Command, words: Sequence[str] | None = None) -> NoReturn:
        """Run and leave with exit code 0, 1 where a measurement failed, or 2 after one line about what the user can mend."""
        try:
            command.main(None if words is None else list(words), self.program, standalone_mode=False)
        except (UserError, click.ClickException) as error:
            text = error.format_message() if isinstance(error, click.ClickException) else str(error)
            click.echo(f"error: {' '.join(text.split())}", err=True)
            sys.exit(2)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted; what was measured is kept", err=True)
            sys.exit(130)
        sys.exit(0)


def measure(selected: list[Case], runner: Runner) -> dict[str, Result]:
    """Measure what is not kept; return the results of cases that failed, by name.

    Says on standard error which case is next, and how long the rest would take at the pace so far.
    """
    todo = []
    for case in selected:
        asking = runner.looking()
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


def _selected(case: Case, only: tuple[str, ...], skip: tuple[str, ...]) -> bool:
    wanted = any(fnmatch(case.name, pattern) for pattern in only) if only else not case.long
    return wanted and not any(fnmatch(case.name, pattern) for pattern in skip)
