"""Two rings of wide rows in one memory: where the prefetcher leaves parameters, and where post-processing reads them."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.cost import Resources
from hw.memory.ring_places import RingPlaces, following, place_bits
from hw.memory.row_banks import RowBanks, row_write_layout


def paired_write_layout(word: object, banks: int) -> data.StructLayout:
    """:func:`hw.memory.row_banks.row_write_layout` and the ring that the word is for."""
    return data.StructLayout({**dict(row_write_layout(word, banks).members), "ring": 1})


class PairedRing(wiring.Component):
    """Two rings of rows of one word a bank, each filled in order and read at random from a movable base.

    Both lie in the same memories, one simple dual-port memory a bank: a block RAM has more rows than one ring needs. Ring 1 has
    the last rows of them, ring 0 the first ones, where it goes downwards. What the two share is the one word that is written
    and the one row that is read in a cycle. A row counts as ``filled`` two cycles after its last word was taken.

    Parameters
    ----------
    banks :
        Words of a row.
    word :
        Shape of a word.
    depths :
        Rows of either ring; together a power of two.

    Members
    -------
    i : In(stream of paired_write_layout)
        Words for both rings, the one's row whenever it comes between the other's words; not ready while the word's ring is
        full, whatever room the other one has. Rows that were released can be written in the next cycle.
    en, ring, offset : In
        Read row ``base + offset`` of a ring, where ``base`` does not yet count this cycle's ``free``. The row must be filled.
    row : Out(ArrayLayout(word, banks))
        The row, ``latency`` cycles after ``en``; keeps its value until the next one arrives.
    filled : Out, two of them
        Complete rows of each ring from its base on, 0 to its depth.
    free : In, two of them
        Rows of each ring to release at the end of this cycle, at most ``filled``.
    clear : In(1), two of them
        Forget all rows of a ring, and the words of an incomplete one. Takes no word for it in this cycle.
    """

    #: Cycles from ``en`` to ``row``.
    latency = RowBanks.latency

    def __init__(self, banks: int, word: object, depths: tuple[int, int]):
        self._banks, self._word, self._depths = banks, word, depths
        self._bits, deeper = place_bits(sum(depths)), max(depths)
        super().__init__({
            "i": In(stream.Signature(paired_write_layout(word, banks))),
            "en": In(1),
            "ring": In(1),
            "offset": In(range(deeper)),
            "row": Out(data.ArrayLayout(word, banks)),
            "filled": Out(range(deeper + 1)).array(2),
            "free": In(range(deeper + 1)).array(2),
            "clear": In(1).array(2),
        })

    @staticmethod
    def resources(banks: int, word: object, depths: tuple[int, int]) -> Resources:
        """A memory a bank."""
        return RowBanks.resources(banks, word, sum(depths))

    def elaborate(self, platform: object) -> Module:
        """The places of each ring's rows, of as many bits as a row's number; ring 0's are complements of them."""
        m = Module()
        bits = self._bits
        m.submodules.banks = banks = RowBanks(self._banks, self._word, sum(self._depths))
        m.submodules.places_0 = low = RingPlaces(self._depths[0], bits)
        m.submodules.places_1 = high = RingPlaces(self._depths[1], bits)
        word, take = self.i.payload, Signal()
        for ring, places in enumerate((low, high)):
            m.d.comb += [
                places.complete.eq(take & word.last & (word.ring == ring)),
                places.free.eq(self.free[ring]),
                places.clear.eq(self.clear[ring]),
                self.filled[ring].eq(places.filled),
            ]
        base, behind = Signal(bits), Signal(bits)
        m.d.comb += [
            self.i.ready.eq(Mux(word.ring, high.room & ~self.clear[1], low.room & ~self.clear[0])),
            take.eq(self.i.valid & self.i.ready),
            banks.write_en.eq(take),
            banks.write_banks.eq(word.banks),
            banks.write_row.eq(Mux(word.ring, high.head, ~low.head)),
            banks.word.eq(word.data),
            base.eq(Mux(self.ring, high.base, low.base)),
            behind.eq(Mux(self.ring, high.behind, low.behind)),
            banks.read_en.eq(self.en),
            banks.read_row.eq(following(base, behind, self.offset) ^ (~self.ring).replicate(bits)),
            self.row.eq(banks.row),
        ]
        return m
