"""An activation buffer of one sub-buffer (X, Y, D): banks that are read row by row and written by any Lp x Lc block."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig
from hw.cost import Resources, ram
from hw.delay import delayed
from hw.memory.placement import PlacedSignature, Placement
from quant.contract import ACT_BITS


class BankReadSignature(wiring.Signature):
    """A read of a word of every bank.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.
    rows : int
        Rows of a bank.

    Members
    -------
    row : Out(ArrayLayout(log2 rows, l))
        By bank.
    word : In(ArrayLayout(m * ACT_BITS, l))
        By bank, ``BankBuffer.read_latency`` cycles later.
    """

    def __init__(self, config: AcceleratorConfig, rows: int):
        super().__init__({
            "row": Out(data.ArrayLayout(ceil_log2(rows), config.l)),
            "word": In(data.ArrayLayout(config.m * ACT_BITS, config.l)),
        })


class BankBuffer(wiring.Component):
    """``l`` banks of one word (docs/architecture.md, section 2), whose reader knows the banks' rows and rotates their words.

    Reading and writing never meet: one port each. A word written is readable by rows given ``write_latency`` cycles after its
    write.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.
    rows : int
        Rows of a bank.

    Members
    -------
    read : In(BankReadSignature)
        Answers ``read_latency`` cycles later.
    write : In(PlacedSignature)
        One a cycle.
    """

    #: Cycles from the banks' rows to their words.
    read_latency = 2
    #: Cycles after a write from which a read sees it, those in :class:`Placement` included.
    write_latency = Placement.latency + 2

    def __init__(self, config: AcceleratorConfig, rows: int):
        self.config = config
        self.rows = rows
        super().__init__({"read": In(BankReadSignature(config, rows)), "write": In(PlacedSignature(config, 1))})

    @staticmethod
    def resources(config: AcceleratorConfig, rows: int) -> Resources:
        """The banks."""
        return ram(unsigned(config.m * ACT_BITS), rows) * config.l

    def elaborate(self, platform: object) -> Module:
        """Banks, each with its way in and out."""
        m = Module()
        read, write = self.read, self.write
        base = delayed(m, write.base[: ceil_log2(self.rows)], Placement.latency, "write_base")
        valid = delayed(m, write.valid, Placement.latency, "write_valid", reset=True)
        for b in range(self.config.l):
            m.submodules[f"bank_{b}"] = bank = memory.Memory(
                shape=unsigned(self.config.m * ACT_BITS), depth=self.rows, init=[]
            )
            # The memory, then its output register.
            source = bank.read_port(domain="sync")
            m.d.comb += [source.addr.eq(read.row[b]), source.en.eq(1)]
            m.d.sync += read.word[b].eq(source.data)
            # The last step of writing: the row of the bank.
            target = bank.write_port()
            row, word = Signal.like(target.addr, name=f"write_row_{b}"), Signal.like(target.data, name=f"write_word_{b}")
            en = Signal(name=f"write_{b}")
            m.d.sync += [
                row.eq(base + write.placed.rows[b]),
                word.eq(write.placed.words[b].as_value()),
                en.eq(valid & write.placed.mask[b]),
            ]
            m.d.comb += [target.en.eq(en), target.addr.eq(row), target.data.eq(word)]
        return m


__all__ = ["BankBuffer", "BankReadSignature"]
