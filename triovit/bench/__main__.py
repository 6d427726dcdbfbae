"""``python -m triovit.bench``: the quantizer's bench, which writes its part of docs/results.md."""

from collections.abc import Sequence
from typing import Any, NoReturn

from triovit.bench.command import Bench
from triovit.bench.results import render
from triovit.bench.runner import Runner
from triovit.bench.summary import cases, summarise

BENCH = Bench(
    program="python -m triovit.bench",
    help="Measure the quantizer and the others, and write their part of the page of results.\n\n"
    "What was measured is kept with what it depends on, and not measured again. Rows that are not selected show what is kept.",
    directory="bench-quant",
    part="quantizer",
    runner=Runner,
    cases=cases,
    summarise=summarise,
    render=render,
)


@BENCH.options
def command(**given: Any) -> None:
    """Run the bench."""
    BENCH.run(**given)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code (`triovit.bench.command.Bench.main`)."""
    BENCH.main(command, words)


if __name__ == "__main__":
    main()
