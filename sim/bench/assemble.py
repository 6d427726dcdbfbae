"""Puts tensors together from the writes that the accelerator reported."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tensor(NamedTuple):
    """A tensor as the accelerator wrote it; ``[channel, pixel]``."""

    values: NDArray[np.int64]
    #: Cycle of the last write of each element, -1 where there was none.
    cycles: NDArray[np.int64]
    written: NDArray[np.bool_]


class _Elements(NamedTuple):
    channel: NDArray[np.int64]
    pixel: NDArray[np.int64]
    value: NDArray[np.int64]
    cycle: NDArray[np.int64]


def _elements(records: NDArray[np.void], tag: int, dst: int, row_sum: bool | None) -> _Elements:
    """Every value of the matching writes, in the order in which they were written."""
    wanted = (records["tag"] == tag) & (records["dst"] == dst)
    if row_sum is not None:
        wanted &= (records["row_sum"] != 0) == row_sum
    records = records[wanted]
    slots, m = records["words"].shape[1:]
    slot = np.arange(slots)
    on = (records["mask"][:, None].astype(np.int64) >> slot & 1).astype(bool)
    split = records["split"].astype(np.int64)[:, None]
    pixel = records["px"].astype(np.int64)[:, None] + (slot & (1 << split) - 1)
    group = records["cg"].astype(np.int64)[:, None] + (slot >> split)
    channel = group[on][:, None] * m + np.arange(m)
    cycle = np.broadcast_to(records["cycle"].astype(np.int64)[:, None], on.shape)
    return _Elements(
        channel.ravel(),
        np.repeat(pixel[on], m),
        records["words"][on].astype(np.int64).ravel(),
        np.repeat(cycle[on], m),
    )


def tensor(
    records: NDArray[np.void], tag: int, dst: int, channels: int, pixels: int, *, row_sum: bool | None = None
) -> Tensor:
    """The tensor that layer ``tag`` wrote to buffer ``dst``.

    Parameters
    ----------
    records
        Writes, as :func:`sim.bench.records.read_writes` returns them. Slot ``i`` of a write is pixel ``px + i % lp`` and
        channel group ``cg + i // lp``, where ``lp = 2^split``.
    tag, dst
        Index of the layer in the artifact and number of the buffer.
    channels, pixels
        Size of the tensor. What lies outside (the padding of the last word) is left out; :func:`strays` counts what should
        not exist.
    row_sum
        Only writes that are (not) row sums; both if None.
    """
    found = _elements(records, tag, dst, row_sum)
    inside = (found.channel < channels) & (found.pixel < pixels)
    at = found.channel[inside], found.pixel[inside]
    values = np.zeros((channels, pixels), np.int64)
    cycles = np.full((channels, pixels), -1, np.int64)
    values[at] = found.value[inside]
    cycles[at] = found.cycle[inside]
    return Tensor(values, cycles, cycles >= 0)


def strays(records: NDArray[np.void], tag: int, dst: int, channels: int, pixels: int) -> int:
    """Values written outside the tensor and the padding of its last word: always 0 in a correct accelerator."""
    m = records["words"].shape[2]
    found = _elements(records, tag, dst, None)
    return int(np.count_nonzero((found.channel >= -(-channels // m) * m) | (found.pixel >= pixels)))
