"""Where a ring begins and ends: the places of its rows, without the rows."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from triovit.errors import InternalError


def place_bits(depth: int) -> int:
    """Bits of a place in a ring of ``depth`` rows.

    Raises
    ------
    InternalError
        No power of two, or less than 2.
    """
    if depth < 2 or depth & (depth - 1):
        raise InternalError(f"a row ring has {depth} rows, and needs a power of two, at least 2")
    return exact_log2(depth)


class RingPlaces(wiring.Component):
    """Counts the rows of a ring that lies in a :class:`hw.memory.row_banks.RowBanks`.

    Parameters
    ----------
    depth :
        Rows, a power of two.

    Members
    -------
    complete : In(1)
        The last word of a row is written in this cycle, at ``head``. Only where there is ``room``, and not beside ``clear``.
    room : Out(1)
        A row can be written. Rows that were released can be in the next cycle.
    head : Out
        Where the next row is written.
    base : Out
        The first row that has not been released; does not yet count this cycle's ``free``.
    filled : Out
        Complete rows from the base on that can be read, 0 to ``depth``.
    free : In
        Rows to release at the end of this cycle, at most ``filled``.
    clear : In(1)
        Forget all rows.
    """

    def __init__(self, depth: int):
        self._depth = depth
        super().__init__({
            "complete": In(1),
            "room": Out(1),
            "head": Out(place_bits(depth)),
            "base": Out(place_bits(depth)),
            "filled": Out(range(depth + 1)),
            "free": In(range(depth + 1)),
            "clear": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        """Two pointers and two counts."""
        m = Module()
        # ``used`` counts a row from the moment its last word is taken, ``filled`` from the moment it is in the memories.
        used, written = Signal.like(self.filled), Signal()
        m.d.comb += self.room.eq(used != self._depth)
        m.d.sync += [
            written.eq(self.complete),
            self.head.eq(self.head + self.complete),
            self.base.eq(self.base + self.free),
            used.eq(used + self.complete - self.free),
            self.filled.eq(self.filled + written - self.free),
        ]
        with m.If(self.clear):
            m.d.sync += [self.head.eq(0), self.base.eq(0), used.eq(0), self.filled.eq(0)]
        return m
