"""What the bench records: the files that ``verilog/trace.sv`` writes, as numpy arrays."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hw.control.descriptor import Unit

#: Values of an event's ``kind``.
DISPATCH, BUSY = 0, 1
EVENT = np.dtype([("cycle", "<u8"), ("kind", "<u2"), ("tag", "<u2"), ("value", "<u4")])


def write_dtype(l: int, m: int) -> np.dtype:  # noqa: E741 - the paper's letter
    """One write of up to ``l`` words of ``m`` values."""
    return np.dtype([
        ("cycle", "<u8"), ("tag", "<u2"), ("spare", "<u2"), ("px", "<u2"), ("cg", "<u2"),
        ("dst", "u1"), ("split", "u1"), ("row_sum", "<u2"), ("mask", "<u4"), ("words", "<i2", (l, m)),
    ])


class Interval(NamedTuple):
    """A unit was busy from ``start`` to before ``end`` with a task of layer ``tag`` (-1 if none was dispatched to it)."""

    unit: Unit
    tag: int
    start: int
    end: int


def read_writes(path: Path, l: int, m: int) -> NDArray[np.void]:  # noqa: E741 - the paper's letter
    """All writes in order; fields as in :func:`write_dtype`. A record cut off by a crash is left out."""
    return _read(path, write_dtype(l, m))


def read_events(path: Path) -> NDArray[np.void]:
    """Dispatches and busy edges in order; fields as in :data:`EVENT`."""
    return _read(path, EVENT)


def _read(path: Path, dtype: np.dtype) -> NDArray[np.void]:
    return np.fromfile(path, dtype=dtype, count=path.stat().st_size // dtype.itemsize)


def busy_intervals(events: NDArray[np.void], cycles: int) -> list[Interval]:
    """When each unit was busy and with what, in order of the starts; what is still busy ends with the simulation."""
    tags = dict.fromkeys(Unit, -1)
    open_since: dict[Unit, tuple[int, int]] = {}
    intervals = []
    for event in events:
        cycle, value = int(event["cycle"]), int(event["value"])
        for unit in Unit:
            on = bool(value & unit)
            if event["kind"] == DISPATCH:
                tags[unit] = int(event["tag"]) if on else tags[unit]
            elif on and unit not in open_since:
                open_since[unit] = (tags[unit], cycle)
            elif not on and unit in open_since:
                intervals.append(Interval(unit, *open_since.pop(unit), cycle))
    intervals += [Interval(unit, *since, cycles) for unit, since in open_since.items()]
    return sorted(intervals, key=lambda interval: (interval.start, interval.unit))
