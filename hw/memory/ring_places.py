"""Where a ring begins and ends: the places of its rows, without the rows."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import Value
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
        raise InternalError(f"rings have a memory of {depth} rows, and need a power of two, at least 2")
    return exact_log2(depth)


def following(base: Value, behind: Value, rows: Value) -> Value:
    """The place ``rows`` rows from ``base`` on, less than ``depth``; ``behind`` is what `RingPlaces` gives with it."""
    near, far = base + rows, behind + rows
    return Mux(near[len(base)], far[: len(base)], near[: len(base)])


class RingPlaces(wiring.Component):
    """Counts the rows of a ring that lies in a :class:`hw.memory.row_banks.RowBanks`.

    Places are numbers of so many bits, of which a ring has the highest ones: a carry tells that the first one is next.

    Parameters
    ----------
    depth :
        Rows, at least 2.
    bits :
        Bits of a place; by default as many as a power of two needs that is the ring's depth.

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
    behind : Out
        What takes the place of ``base`` for rows behind the last place: ``depth`` places before it, which is ``base`` itself
        where all places are the ring's.
    filled : Out
        Complete rows from the base on that can be read, 0 to ``depth``.
    free : In
        Rows to release at the end of this cycle, at most ``filled``.
    clear : In(1)
        Forget all rows.
    """

    def __init__(self, depth: int, bits: int | None = None):
        self._depth = depth
        self._bits = place_bits(depth) if bits is None else bits
        self._first = (1 << self._bits) - depth
        super().__init__({
            "complete": In(1),
            "room": Out(1),
            "head": Out(self._bits, init=self._first),
            "base": Out(self._bits, init=self._first),
            "behind": Out(self._bits, init=2 * self._first % (1 << self._bits)),
            "filled": Out(range(depth + 1)),
            "free": In(range(depth + 1)),
            "clear": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        """Two pointers and two counts."""
        m = Module()
        head, base = self.head + self.complete, Signal.like(self.base)
        m.d.comb += base.eq(following(self.base, self.behind, self.free))
        # ``used`` counts a row from the moment its last word is taken, ``filled`` from the moment it is in the memories.
        used, written = Signal.like(self.filled), Signal()
        m.d.comb += self.room.eq(used != self._depth)
        m.d.sync += [
            written.eq(self.complete),
            self.head.eq(Mux(head[self._bits], self._first, head)),
            self.base.eq(base),
            used.eq(used + self.complete - self.free),
            self.filled.eq(self.filled + written - self.free),
        ]
        with m.If(self.clear):
            m.d.sync += [self.head.eq(self._first), self.base.eq(self._first), used.eq(0), self.filled.eq(0)]
        if self._first:
            m.d.sync += self.behind.eq(base + self._first)
            with m.If(self.clear):
                m.d.sync += self.behind.eq(2 * self._first)
        else:
            m.d.comb += self.behind.eq(self.base)
        return m
