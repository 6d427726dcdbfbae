"""The row of every bank: where ``l`` words of a tensor lie, counted from the bank that has the first of them."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.cost import DSP_PRODUCT_BITS, Resources
from hw.interfaces import GROUP_BITS, PIXEL_BITS, RING_BITS, ROW_BITS, SPLIT_BITS

#: log2 of the neighbouring banks that have a sum each; as many banks apart they share it.
CLASS_BITS = 2


class BankRows(wiring.Component):
    """The row in each bank of ``l`` words (docs/architecture.md, section 2), two cycles later; new ones each cycle.

    Word ``d`` is pixel ``px + d mod lp`` of channel group ``cg + d div lp``, where ``lp = 2^split``, and lies in bank ``(px + cg
    * 2^skew + d) mod l``: ``skew`` is ``split`` wherever ``lp`` is less than ``l``.

    The channel groups' multiples of ``rows`` are sums of one for ``d mod 4``, which banks four apart have in common, and one
    for ``d div 4``, of which there are ``l / 4``: so a bank has a multiplexer and an adder. The row of a pixel is one further
    in words whose pixel has passed the last bank. With up to four pixel slots that depends on ``d mod 4`` alone; with more of
    them the multiple does not, nor on the last bit of ``d div 4``, so that this bit can tell it instead.

    Parameters
    ----------
    lanes : int
        ``l``.
    bits : int
        Bits of a row; rows are counted modulo ``2^bits``.

    Members
    -------
    px, cg, base, rows, skew, split, ring : In
        As in :class:`hw.interfaces.ReadSignature`.
    first : Out(log2 l)
        The bank of word 0, a cycle later.
    row : Out(ArrayLayout(bits, l))
        By bank.
    """

    latency = 2

    def __init__(self, lanes: int, bits: int):
        self.lanes, self.bits = lanes, bits
        super().__init__({
            "px": In(signed(PIXEL_BITS + 2)),
            "cg": In(GROUP_BITS),
            "base": In(ROW_BITS),
            "rows": In(ROW_BITS),
            "skew": In(SPLIT_BITS),
            "split": In(SPLIT_BITS),
            "ring": In(RING_BITS),
            "first": Out(exact_log2(lanes)),
            "row": Out(data.ArrayLayout(bits, lanes)),
        })

    @staticmethod
    def resources(bits: int) -> Resources:
        """The multiplier of the first channel group's row."""
        return Resources(dsp=1 if bits >= DSP_PRODUCT_BITS else 0)

    def elaborate(self, platform: object) -> Module:
        """Step 1: what depends on the word; step 2: the choice of each bank."""
        m = Module()
        lanes, bits, near = self.lanes, exact_log2(self.lanes), 1 << CLASS_BITS
        rows = self.rows[: self.bits]
        # Multiples of ``rows``, an adder for each odd one.
        times: list[Value] = [Const(0), rows]
        for factor in range(2, lanes):
            product = Signal(self.bits, name=f"rows_{factor}")
            m.d.comb += product.eq((times[factor // 2] << 1) + (rows if factor % 2 else 0))
            times.append(product)

        start, pixel_row, next_row, step = (Signal(self.bits, name=name) for name in ("start", "pixel_row", "next_row", "step"))
        mask, chunk = Signal(PIXEL_BITS), self.px >> bits
        m.d.comb += [
            mask.eq(ring_mask(self.ring)),
            pixel_row.eq(chunk & mask),
            next_row.eq((chunk + 1) & mask),
            step.eq(next_row - pixel_row),
        ]
        m.d.sync += [start.eq(self.base + self.cg * self.rows), self.first.eq(self.px + (self.cg << self.skew))]
        # Whether the row of word ``d`` is the next one; and the multiples of ``d mod 4`` and of ``d div 4``.
        passes, by_bank, late = Signal(lanes), Signal(), Signal()
        low, multiple = self.px[:bits], [Signal(self.bits, name=f"multiple_{d}") for d in range(near)]
        far = [Signal(self.bits, name=f"far_{h}") for h in range(lanes // near)]
        with m.Switch(self.split):
            for split in range(bits + 1):
                with m.Case(split):
                    m.d.comb += late.eq(split > CLASS_BITS)
                    m.d.comb += passes.eq(Cat((low + d % (1 << split))[bits] for d in range(lanes)))
                    m.d.comb += [signal.eq(times[d >> split]) for d, signal in enumerate(multiple)]
                    for h, signal in enumerate(far):
                        m.d.comb += signal.eq(times[near * (h & ~1 if split > CLASS_BITS else h) >> split])
        offsets = [Signal(self.bits, name=f"offset_{d}") for d in range(near)]
        further = [Signal(self.bits, name=f"further_{h}") for h in range(lanes // near)]
        passing: Value = Signal(lanes, name="passing")
        m.d.sync += [by_bank.eq(late), passing.eq(passes)]
        for d, offset in enumerate(offsets):
            m.d.sync += offset.eq(multiple[d] + Mux(passes[d] & ~late, next_row, pixel_row))
        for h, offset in enumerate(further):
            m.d.sync += offset.eq(far[h] + (Mux(late, step, 0) if h & 1 else 0))

        for bit in range(bits):
            passing = Mux(self.first[bit], passing.rotate_left(1 << bit), passing)
        passing_banks = Signal(lanes)
        m.d.comb += passing_banks.eq(passing)
        sums = []
        for bank in range(near):
            total = Signal(self.bits, name=f"sum_{bank}")
            m.d.comb += total.eq(start + Array(offsets)[(bank - self.first)[:CLASS_BITS]])
            sums.append(total)
        for bank in range(lanes):
            distance = Signal(bits, name=f"distance_{bank}")
            m.d.comb += distance.eq(bank - self.first)
            chosen: Value = Const(0)
            if lanes > near:
                which = Cat(Mux(by_bank, passing_banks[bank], distance[CLASS_BITS]), distance[CLASS_BITS + 1 :])
                chosen = Array(further)[which]
            m.d.sync += self.row[bank].eq(sums[bank % near] + chosen)
        return m


def ring_mask(ring: Value) -> Value:
    """``2^ring - 1``, all ones for 0."""
    return Mux(ring == 0, -1, (1 << ring) - 1)


__all__ = ["BankRows", "ring_mask"]
