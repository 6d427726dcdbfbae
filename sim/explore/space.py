"""Which configurations a sweep tries: a grid, every axis a list of values."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product


@dataclass(frozen=True)
class Machine:
    """One array with its memories and its port; what its requantizers are made of is left open, as no cycle depends on it."""

    m: int
    l: int  # noqa: E741 - the paper's letter
    weight_rows: int
    param_rows: int
    z_rows: int
    divisor_rows: int
    axi_burst: int
    #: Rows of the activation buffers, in percent of the least that the network compiles with.
    buffers: int


@dataclass(frozen=True)
class Slots:
    """Post-processing slots whose requantizers, and whose second steps, multiply in DSPs: percents of ``l``, rounded down."""

    first: int
    second: int


@dataclass(frozen=True)
class Space:
    """The values of every axis; the points are all combinations, in the order of the axes.

    N, T and S are no axes: an accelerator's lanes fill one word, so they equal M. A beat of the memory port has N x M bytes, so
    the port follows the array. ``result_depth`` is none either: it is as large as the cycle model takes it to be.
    """

    m: tuple[int, ...] = (4, 8)
    l: tuple[int, ...] = (8, 16, 32)  # noqa: E741 - the paper's letter
    weight_rows: tuple[int, ...] = (512, 1024)
    param_rows: tuple[int, ...] = (256,)
    z_rows: tuple[int, ...] = (64, 128)
    divisor_rows: tuple[int, ...] = (64, 1024)
    axi_burst: tuple[int, ...] = (16,)
    buffers: tuple[int, ...] = (100,)
    first_dsp: tuple[int, ...] = (0, 25, 50, 100)
    second_dsp: tuple[int, ...] = (0,)

    def machines(self) -> Iterator[Machine]:
        """Everything that cycles depend on, each combination once."""
        for values in product(*(getattr(self, field.name) for field in fields(Machine))):
            yield Machine(*values)

    def slots(self) -> tuple[Slots, ...]:
        """What the requantizers of each machine are made of."""
        return tuple(Slots(*values) for values in product(self.first_dsp, self.second_dsp))
