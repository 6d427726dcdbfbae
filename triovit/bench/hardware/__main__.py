"""``python -m triovit.bench.hardware``: the accelerator's bench, which writes its part of docs/results.md."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import click

from triovit.bench.command import Bench
from triovit.bench.hardware import baseline
from triovit.bench.hardware.goals import goals
from triovit.bench.hardware.results import render
from triovit.bench.hardware.runner import HardwareRunner
from triovit.bench.hardware.summary import cases, summarise
from triovit.bench.runner import Result


def _conclude(summary: Result, selected: Sequence[str], *, renew: bool = False) -> list[str]:
    """Print every figure; complain of hardware that is not bit-exact and of what is off the baseline, or store a new one."""
    for goal in goals(summary):
        parts = {"goal": goal.goal, "measured": goal.measured, "predicted": goal.predicted, "authors": goal.authors}
        click.echo(f"{goal.state:6}  {goal.figure}: {'; '.join(f'{name} {words}' for name, words in parts.items() if words)}")
    complaints = [
        f"{name}: {network['first_difference']}" for name, network in summary["networks"].items() if network["bit_exact"] is False
    ]
    if renew:
        baseline.renew(summary)
        click.echo(f"{baseline.BASELINE}: renewed")
        return complaints
    return complaints + baseline.differences(baseline.load(), baseline.figures(summary))


BENCH = Bench(
    program="python -m triovit.bench.hardware",
    help="Measure the accelerator, and write its part of the page of results.\n\n"
    "What was measured is kept with what it depends on, and not measured again. Rows that are not selected show what is kept.",
    directory="bench",
    part="accelerator",
    runner=HardwareRunner,
    cases=cases,
    summarise=summarise,
    render=render,
    conclude=_conclude,
)


@click.option(
    "--renew",
    is_flag=True,
    help="Store what is measured as the baseline of the tests; without --only what they compare is measured.",
)
def _run(renew: bool, **given: Any) -> None:
    if not renew:
        BENCH.run(**given)
        return
    given["only"] = given["only"] or baseline.NEEDED
    replace(BENCH, conclude=partial(_conclude, renew=True)).run(**given)


command = BENCH.options(_run)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code (`triovit.bench.command.Bench.main`)."""
    BENCH.main(command, words)


if __name__ == "__main__":
    main()
