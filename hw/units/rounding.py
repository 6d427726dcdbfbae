"""Rounding and saturation (integer contract, section 1), and the shifter that every requantization ends with."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


def saturated(value: Value, bits: int) -> Value:
    """``sat(value, bits)`` of a signed value.

    It fits when all bits from the sign bit of the result upwards are equal, which is cheaper than two comparisons.
    """
    if len(value) <= bits:
        return value
    high = value[bits - 1:]
    limit = Mux(value[-1], Const(-(1 << (bits - 1)), signed(bits)), Const((1 << (bits - 1)) - 1, signed(bits)))
    return Mux(high.all() | ~high.any(), value[:bits].as_signed(), limit)


def halved(value: Value) -> Value:
    """``rs(value, 1)``: the last step of every rounding shift, since ``rs(v, s) = rs(2v >> s, 1)`` for every ``s``."""
    return (value + 1) >> 1


def _shifted(value: Value, select: Value, unit: int, width: int) -> tuple[Value, Value]:
    """``value >> (select * unit)`` in ``width`` bits, and whether something is left above them.

    ``select`` has one or two bits: a lookup table of six inputs for each bit that stays.
    """
    choices = [value[place * unit:] for place in range(1 << len(select))]
    above = [choice[width:].any() for choice in choices]
    for bit in select:
        choices = [Mux(bit, odd, even) for even, odd in zip(choices[::2], choices[1::2], strict=True)]
        above = [Mux(bit, odd, even) for even, odd in zip(above[::2], above[1::2], strict=True)]
    return choices[0][:width], above[0]


def _rounded(magnitude: Value, negative: Value) -> Value:
    """``sat(rs(v, 1))`` in a bit less than ``v``; only the largest number would leave the range, by being rounded up."""
    value = Cat(magnitude ^ negative.replicate(len(magnitude)), negative).as_signed()
    largest = magnitude.all() & ~negative
    return (value >> 1) + (value[0] & ~largest)


class RoundingShift(wiring.Component):
    """``o = sat(rs(i, shift), out_bits)``, a new value each cycle, ``latency`` cycles later.

    Three registered steps: all of the shift but its two lowest bits; these, and a first saturation; the rounding.
    The shifters move the bits of the value's magnitude (negative: complement), so that zeros follow, and whatever is left above
    the bits that can matter saturates: all ones, which a register is set to. The first saturation keeps one bit more than the
    result, so that the rounding carries over few bits: what it cuts off lies beyond the result's range before the rounding
    and after it. Shifts beyond the width of ``i`` give 0, as they should.

    Parameters
    ----------
    in_bits, shift_bits, out_bits : int
        Widths.

    Members
    -------
    i : In(signed(in_bits))
        The value.
    shift : In(shift_bits)
        Right shift; any value of the port is allowed.
    o : Out(signed(out_bits))
        The result.
    """

    #: Cycles from ``i`` and ``shift`` to ``o``.
    latency = 3
    #: Bits of the shift that a row of lookup tables takes.
    _SELECT_BITS = 2

    def __init__(self, in_bits: int, shift_bits: int, out_bits: int):
        self.in_bits = in_bits
        self.out_bits = out_bits
        super().__init__({"i": In(signed(in_bits)), "shift": In(shift_bits), "o": Out(signed(out_bits))})

    def elaborate(self, platform: object) -> Module:
        """Build the pipeline."""
        m = Module()
        sign = self.i[-1]
        # Of twice the value, as the last step halves it.
        magnitude: Value = Cat(sign, self.i[:-1] ^ sign.replicate(self.in_bits - 1))
        beyond: Value = Const(0, 1)
        fine_bits = min(self._SELECT_BITS, len(self.shift))
        place = len(self.shift)
        while place > fine_bits:
            # The topmost bits are one select where their number is odd.
            bits = self._SELECT_BITS if (place - fine_bits) % self._SELECT_BITS == 0 else 1
            place -= bits
            kept = self.out_bits + (1 << place) - 1
            magnitude, above = _shifted(magnitude, self.shift[place : place + bits], 1 << place, kept)
            beyond |= above
        coarse = Signal(len(magnitude), reset_less=True)
        over, negative = Signal(reset_less=True), Signal(reset_less=True)
        rest = Signal(fine_bits, reset_less=True)
        m.d.sync += [coarse.eq(magnitude), over.eq(beyond), negative.eq(sign), rest.eq(self.shift[:fine_bits])]

        fine = Signal(self.out_bits, reset_less=True)
        complement = Signal(reset_less=True)
        magnitude, above = _shifted(coarse, rest, 1, self.out_bits)
        m.d.sync += [fine.eq(magnitude), complement.eq(negative)]
        with m.If(over | above):
            m.d.sync += fine.eq(~0)

        m.d.sync += self.o.eq(_rounded(fine, complement))
        return m
