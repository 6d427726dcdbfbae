"""A ring of wide rows: where the prefetcher leaves weights and parameters, and where the engines read them."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.cost import Resources, ram
from triovit.errors import InternalError


def row_write_layout(word: object, banks: int) -> data.StructLayout:
    """One word on its way into a :class:`RowRing`: written to every bank of ``banks``; ``last`` completes the row."""
    return data.StructLayout({"data": word, "banks": banks, "last": 1})


class RowRing(wiring.Component):
    """``depth`` rows of one word a bank, filled in order and read at random from a movable base.

    One simple dual-port memory a bank. Writing takes one word a cycle; a word is registered before the memories (it
    reaches all banks), so a row counts as ``filled`` two cycles after its last word was taken. Reading takes one row a cycle.

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

    #: Cycles from ``en`` to ``row``: the memory's and the output register's.
    latency = 2

    def __init__(self, banks: int, word: object, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise InternalError(f"a row ring has {depth} rows, and needs a power of two, at least 2")
        self._banks, self._word, self._depth = banks, word, depth
        super().__init__({
            "i": In(stream.Signature(row_write_layout(word, banks))),
            "en": In(1),
            "offset": In(ceil_log2(depth)),
            "row": Out(data.ArrayLayout(word, banks)),
            "filled": Out(range(depth + 1)),
            "free": In(range(depth + 1)),
            "clear": In(1),
        })

    @staticmethod
    def resources(banks: int, word: object, depth: int) -> Resources:
        """A memory a bank."""
        return ram(word, depth) * banks

    def elaborate(self, platform: object) -> Module:
        """Pointers, the write register and one memory a bank."""
        m = Module()
        base = Signal(ceil_log2(self._depth))
        head = Signal.like(base)
        # ``used`` counts a row from the moment its last word is taken, ``filled`` from the moment it is in the memories.
        used = Signal(range(self._depth + 1))
        staged = Signal()
        stage = Signal(self.i.payload.shape())

        take, complete, written = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq((used != self._depth) & ~self.clear),
            take.eq(self.i.valid & self.i.ready),
            complete.eq(take & self.i.payload.last),
            written.eq(staged & stage.last),
        ]
        m.d.sync += [
            staged.eq(take),
            stage.eq(self.i.payload),
            head.eq(head + written),
            base.eq(base + self.free),
            used.eq(used + complete - self.free),
            self.filled.eq(self.filled + written - self.free),
        ]
        with m.If(self.clear):
            m.d.sync += [head.eq(0), base.eq(0), used.eq(0), self.filled.eq(0), staged.eq(0)]

        arrived = Signal()
        m.d.sync += arrived.eq(self.en)
        for bank in range(self._banks):
            # The word travels as plain bits, so that a memory is one Verilog array whatever the word's structure.
            memory = Memory(shape=unsigned(len(Cat(stage.data))), depth=self._depth, init=[])
            m.submodules[f"bank_{bank}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(head),
                write.data.eq(stage.data),
                write.en.eq(staged & stage.banks[bank]),
                read.addr.eq(base + self.offset),
                read.en.eq(self.en),
            ]
            with m.If(arrived):
                m.d.sync += self.row.as_value().word_select(bank, len(read.data)).eq(read.data)
        return m
