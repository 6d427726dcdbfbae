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


class RoundingShift(wiring.Component):
    """``o = sat(rs(i, shift), out_bits)``, a new value each cycle, ``latency`` cycles later.

    Three registered steps: the shift by multiples of eight, the rest of the shift with a first saturation, the rounding.
    The first saturation keeps one bit more than the result, so that the rounding carries over few bits: what it cuts off
    lies beyond the result's range before the rounding and after it. Shifts beyond the width of ``i`` give 0, as they should.

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
    #: Low bits of the shift that the second step takes.
    _FINE_BITS = 3

    def __init__(self, in_bits: int, shift_bits: int, out_bits: int):
        self.in_bits = in_bits
        self.out_bits = out_bits
        super().__init__({"i": In(signed(in_bits)), "shift": In(shift_bits), "o": Out(signed(out_bits))})

    def elaborate(self, platform: object) -> Module:
        """Build the pipeline."""
        m = Module()
        fine_bits = min(self._FINE_BITS, len(self.shift))
        twice = Cat(Const(0, 1), self.i).as_signed()
        coarse = Signal(signed(self.in_bits + 1), reset_less=True)
        rest = Signal(fine_bits, reset_less=True)
        m.d.sync += [coarse.eq(twice >> Cat(Const(0, fine_bits), self.shift[fine_bits:])), rest.eq(self.shift[:fine_bits])]
        fine = Signal(signed(self.out_bits + 1), reset_less=True)
        m.d.sync += fine.eq(saturated(coarse >> rest, self.out_bits + 1))
        m.d.sync += self.o.eq(saturated(halved(fine), self.out_bits))
        return m
