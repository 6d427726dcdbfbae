"""A reader of buffers of one sub-buffer: from pixels to the rows of the banks, and from the banks' words to lanes."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.cost import Resources
from hw.delay import delayed
from hw.interfaces import ReadSignature
from hw.memory.bank_buffer import BankBuffer, BankReadSignature
from hw.memory.bank_rows import BankRows
from hw.memory.line_rows import LineRows
from hw.memory.rotate import Rotator
from quant.contract import ACT_BITS


class Reader(wiring.Component):
    """Asks every bank for a word and moves them to their lanes (docs/architecture.md, section 2); a read each cycle.

    Where pixels lie is the same in all buffers, so that whose banks answer may be chosen between this and them.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.
    rows : int
        Rows of a bank of the deepest buffer that is read.
    spreads : bool
        Whether reads may be of several channel groups; otherwise their ``spread`` does not count.

    Members
    -------
    read : In(ReadSignature)
        Answers ``latency`` cycles later.
    banks : Out(BankReadSignature)
        Rows ``row_latency`` cycles after the request, words ``BankBuffer.read_latency`` cycles after the rows.
    """

    #: Cycles from a request to the banks' rows.
    row_latency = BankRows.latency
    #: Cycles from a request to its data.
    latency = row_latency + BankBuffer.read_latency + Rotator.latency

    def __init__(self, config: AcceleratorConfig, rows: int, *, spreads: bool = True):
        self.config, self.rows, self.spreads = config, rows, spreads
        super().__init__({"read": In(ReadSignature(config)), "banks": Out(BankReadSignature(config, rows))})

    @staticmethod
    def resources(rows: int) -> Resources:
        """The multiplier of the first channel group's row, whether there are further ones or not."""
        return BankRows.resources(ceil_log2(rows))

    def elaborate(self, platform: object) -> Module:
        """Steps 1 and 2: the banks' rows; 3 and 4 are the buffer's; 5 and 6: pixel px to lane 0."""
        m = Module()
        lanes, read = self.config.l, self.read
        row_bits = ceil_log2(self.rows)
        rows: BankRows | LineRows
        if self.spreads:
            m.submodules.rows = rows = BankRows(lanes, row_bits)
            m.d.comb += rows.split.eq(exact_log2(lanes) - read.spread)
        else:
            m.submodules.rows = rows = LineRows(lanes, row_bits)
        m.submodules.rotator = rotator = Rotator(self.config.m * ACT_BITS, lanes)
        m.d.comb += [
            rows.px.eq(read.px),
            rows.cg.eq(read.cg),
            rows.base.eq(read.base),
            rows.rows.eq(read.rows),
            rows.skew.eq(read.skew),
            rows.ring.eq(read.ring),
            self.banks.row.eq(rows.row),
            rotator.i.eq(self.banks.word),
            # The first word's bank is known a cycle before the rows.
            rotator.amount.eq(delayed(m, rows.first, 1 + BankBuffer.read_latency, "first")),
            read.data.as_value().eq(rotator.o.as_value()),
        ]
        return m


__all__ = ["Reader"]
