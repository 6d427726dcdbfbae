"""The memories of a ring: a bank for each word of a row."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cost import Resources, ram


def row_write_layout(word: object, banks: int) -> data.StructLayout:
    """One word on its way into a ring: written to every bank of ``banks``; ``last`` completes the row."""
    return data.StructLayout({"data": word, "banks": banks, "last": 1})


class RowBanks(wiring.Component):
    """``depth`` rows of one word a bank, each bank a simple dual-port memory.

    A word is registered before the memories, as it reaches all banks. So a row can be read ``write_latency`` cycles after its
    last word was written.

    Parameters
    ----------
    banks :
        Words of a row.
    word :
        Shape of a word.
    depth :
        Rows.

    Members
    -------
    write_en : In(1), write_banks : In(banks), write_row : In, word : In(word)
        Write a word to every bank of ``write_banks`` in a row.
    read_en, read_row : In
        Read a row.
    row : Out(ArrayLayout(word, banks))
        The row, ``latency`` cycles after ``read_en``; keeps its value until the next one arrives.
    """

    #: Cycles from ``read_en`` to ``row``: the memory's and the output register's.
    latency = 2
    #: Cycles from ``write_en`` to the first ``read_en`` that finds the word.
    write_latency = 2

    def __init__(self, banks: int, word: object, depth: int):
        self._banks, self._depth = banks, depth
        super().__init__({
            "write_en": In(1),
            "write_banks": In(banks),
            "write_row": In(range(depth)),
            "word": In(word),
            "read_en": In(1),
            "read_row": In(range(depth)),
            "row": Out(data.ArrayLayout(word, banks)),
        })

    @staticmethod
    def resources(banks: int, word: object, depth: int) -> Resources:
        """A memory a bank."""
        return ram(word, depth) * banks

    def elaborate(self, platform: object) -> Module:
        """The write register and one memory a bank."""
        m = Module()
        # The word travels as plain bits, so that a memory is one Verilog array whatever the word's structure.
        staged, word = Signal(), Signal(len(Cat(self.word)))
        chosen, place = Signal.like(self.write_banks), Signal.like(self.write_row)
        arrived = Signal()
        m.d.sync += [staged.eq(self.write_en), word.eq(self.word), chosen.eq(self.write_banks), place.eq(self.write_row)]
        m.d.sync += arrived.eq(self.read_en)
        for bank in range(self._banks):
            memory = Memory(shape=unsigned(len(word)), depth=self._depth, init=[])
            m.submodules[f"bank_{bank}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(place),
                write.data.eq(word),
                write.en.eq(staged & chosen[bank]),
                read.addr.eq(self.read_row),
                read.en.eq(self.read_en),
            ]
            with m.If(arrived):
                m.d.sync += self.row.as_value().word_select(bank, len(read.data)).eq(read.data)
        return m
