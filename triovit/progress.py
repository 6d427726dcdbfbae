"""How far a long step is, and how long it still takes: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress(Protocol):
    """What a long-running function calls as it goes."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` steps of ``stage`` are finished; a stage begins at 0 and ends at ``total``."""


class PlainProgress:
    """Lines such as ``simulate: step 3/10, 12 s left``: the first and the last of a stage, and one every ``interval`` seconds."""

    def __init__(self, stream: TextIO, interval: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._shown = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show a line, if it is time for one."""
        now = self._clock()
        first = stage not in self._begun
        begun = self._begun.setdefault(stage, now)
        if not first and done < total and now - self._shown < self._interval:
            return
        self._shown = now
        self._stream.write(f"{stage}: step {done}/{total}{self._remark(done, total, now - begun)}\n")
        self._stream.flush()
        if done >= total:
            del self._begun[stage]

    @staticmethod
    def _remark(done: int, total: int, elapsed: float) -> str:
        if done >= total:
            return f", done in {elapsed:.1f} s"
        if done == 0 or elapsed == 0:
            return ""
        return f", {elapsed / done * (total - done):.0f} s left"


class BarProgress:
    """One bar a stage, with the time left."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Move the stage's bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)


def silent(stage: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


@contextmanager
def shown(stream: TextIO | None = None) -> Iterator[Progress]:
    """A `Progress` that draws on ``stream`` (standard error) while the block runs."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield PlainProgress(stream)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(file=stream)) as bars:
        yield BarProgress(bars)
