"""A ring of wide rows: where the prefetcher leaves weights, and where the engines read them."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.cost import Resources
from hw.memory.ring_places import RingPlaces, place_bits
from hw.memory.row_banks import RowBanks, row_write_layout


class RowRing(wiring.Component):
    """``depth`` rows of one word a bank, filled in order and read at random from a movable base.

    One simple dual-port memory a bank. Writing takes one word a cycle, and a row counts as ``filled`` two cycles after its last
    word was taken. Reading takes one row a cycle.

    Parameters
    ----------
    banks :
        Words of a row.
    word :
        Shape of a word.
    depth :
        Rows, a power of two.

    Members
    -------
    i : In(stream of row_write_layout)
        Words; not ready while the ring is full. Rows that were released can be written in the next cycle.
    en, offset : In
        Read row ``base + offset``, where ``base`` does not yet count this cycle's ``free``. The row must be filled.
    row : Out(ArrayLayout(word, banks))
        The row, ``latency`` cycles after ``en``; keeps its value until the next one arrives.
    filled : Out
        Complete rows from the base on, 0 to ``depth``.
    free : In
        Rows to release at the end of this cycle, at most ``filled``.
    clear : In(1)
        Forget all rows, and the words of an incomplete one. Takes no word in this cycle.
    """

    #: Cycles from ``en`` to ``row``.
    latency = RowBanks.latency

    def __init__(self, banks: int, word: object, depth: int):
        self._banks, self._word, self._depth = banks, word, depth
        super().__init__({
            "i": In(stream.Signature(row_write_layout(word, banks))),
            "en": In(1),
            "offset": In(place_bits(depth)),
            "row": Out(data.ArrayLayout(word, banks)),
            "filled": Out(range(depth + 1)),
            "free": In(range(depth + 1)),
            "clear": In(1),
        })

    @staticmethod
    def resources(banks: int, word: object, depth: int) -> Resources:
        """A memory a bank."""
        return RowBanks.resources(banks, word, depth)

    def elaborate(self, platform: object) -> Module:
        """The places of the rows, and the rows."""
        m = Module()
        m.submodules.places = places = RingPlaces(self._depth)
        m.submodules.banks = banks = RowBanks(self._banks, self._word, self._depth)
        take = Signal()
        m.d.comb += [
            self.i.ready.eq(places.room & ~self.clear),
            take.eq(self.i.valid & self.i.ready),
            places.complete.eq(take & self.i.payload.last),
            places.free.eq(self.free),
            places.clear.eq(self.clear),
            self.filled.eq(places.filled),
            banks.write_en.eq(take),
            banks.write_banks.eq(self.i.payload.banks),
            banks.write_row.eq(places.head),
            banks.word.eq(self.i.payload.data),
            banks.read_en.eq(self.en),
            banks.read_row.eq(places.base + self.offset),
            self.row.eq(banks.row),
        ]
        return m
