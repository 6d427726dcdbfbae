"""The row of every bank for reads of one channel group: two rows, of which a bank has the one or the other."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.interfaces import GROUP_BITS, PIXEL_BITS, RING_BITS, ROW_BITS, SPLIT_BITS
from hw.memory.bank_rows import BankRows, ring_mask


class LineRows(wiring.Component):
    """The row in each bank of ``l`` pixels (docs/architecture.md, section 2), two cycles later; new ones each cycle.

    What :class:`BankRows` says where its ``split`` is log2 ``l``: pixel ``px + d`` lies in bank ``(px + cg * 2^skew + d) mod l``,
    in the first pixel's row, or in the next one where it has passed the last bank.

    Parameters
    ----------
    lanes : int
        ``l``.
    bits : int
        Bits of a row; rows are counted modulo ``2^bits``.

    Members
    -------
    px, cg, base, rows, skew, ring : In
        As in :class:`hw.interfaces.ReadSignature`.
    first : Out(log2 l)
        The bank of the first pixel, a cycle later.
    row : Out(ArrayLayout(bits, l))
        By bank.
    """

    latency = BankRows.latency

    def __init__(self, lanes: int, bits: int):
        self.lanes, self.bits = lanes, bits
        super().__init__({
            "px": In(signed(PIXEL_BITS + 2)),
            "cg": In(GROUP_BITS),
            "base": In(ROW_BITS),
            "rows": In(ROW_BITS),
            "skew": In(SPLIT_BITS),
            "ring": In(RING_BITS),
            "first": Out(exact_log2(lanes)),
            "row": Out(data.ArrayLayout(bits, lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        """Step 1: the channel group's row and the pixel's; step 2: both rows and the choice of each bank."""
        m = Module()
        lanes, bits = self.lanes, exact_log2(self.lanes)
        start, pixel_row, next_row = (Signal(self.bits, name=name) for name in ("start", "pixel_row", "next_row"))
        mask, chunk, low = Signal(PIXEL_BITS), self.px >> bits, self.px[:bits]
        passing: Value = Signal(lanes, name="passing")
        m.d.comb += mask.eq(ring_mask(self.ring))
        m.d.sync += [
            start.eq(self.base + self.cg * self.rows),
            self.first.eq(self.px + (self.cg << self.skew)),
            pixel_row.eq(chunk & mask),
            next_row.eq((chunk + 1) & mask),
            passing.eq(Cat((low + d)[bits] for d in range(lanes))),
        ]
        here, there = Signal(self.bits), Signal(self.bits)
        m.d.comb += [here.eq(start + pixel_row), there.eq(start + next_row)]
        for bit in range(bits):
            passing = Mux(self.first[bit], passing.rotate_left(1 << bit), passing)
        passing_banks = Signal(lanes)
        m.d.comb += passing_banks.eq(passing)
        m.d.sync += [self.row[bank].eq(Mux(passing_banks[bank], there, here)) for bank in range(lanes)]
        return m


__all__ = ["LineRows"]
