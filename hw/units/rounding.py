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


def _shifted(value: Value, select: Value, unit: int, width: int, fill: Value) -> tuple[Value, Value]:
    """``value >> (select * unit)`` in ``width`` bits, with ``fill`` moving in, and whether something else is left above them.

    ``select`` has one or two bits: a lookup table of six inputs for each bit that stays.
    """
    rest = [value[place * unit:] for place in range(1 << len(select))]
    # A signal of no bits would be emitted as one.
    above = [(bits[width:] ^ fill.replicate(len(bits) - width)).any() if len(bits) > width else Const(0, 1) for bits in rest]
    choices = [Cat(bits, fill.replicate(width))[:width] for bits in rest]
    for bit in select:
        choices = [Mux(bit, odd, even) for even, odd in zip(choices[::2], choices[1::2], strict=True)]
        above = [Mux(bit, odd, even) for even, odd in zip(above[::2], above[1::2], strict=True)]
    return choices[0], above[0]


def _rounded(magnitude: Value, negative: Value) -> Value:
    """``sat(rs(v, 1))`` in a bit less than ``v``; only the largest number would leave the range, by being rounded up."""
    value = Cat(magnitude ^ negative.replicate(len(magnitude)), negative).as_signed()
    largest = magnitude.all() & ~negative
    return (value >> 1) + (value[0] & ~largest)


class SaturatingShift(wiring.Component):
    """``i >> (shift - 1)``, saturated, whose last bit rounds the others: a new value each cycle, ``latency`` cycles later.

    Two registered steps: all of the shift but its two lowest bits; these, and the saturation. The shifters move the bits of the
    value's magnitude (negative: complement), so that zeros follow, and whatever is left above the bits that can matter
    saturates: all ones, which a register is set to. Before the first step's last row of lookup tables it is the value itself
    where that row has an input left for its sign. Shifts beyond the width of ``i`` give 0 or -1, which rounds to 0.

    Parameters
    ----------
    in_bits, shift_bits, out_bits : int
        Widths; ``out_bits`` those of what the last bit has been rounded away from.

    Members
    -------
    i : In(signed(in_bits))
        The value.
    shift : In(shift_bits)
        Right shift; any value of the port is allowed.
    magnitude : Out(out_bits), negative : Out(1)
        The bits of the result, complemented where it is negative, and its sign.
    """

    #: Cycles from ``i`` and ``shift`` to ``magnitude``.
    latency = 2
    #: Bits of the shift that a row of lookup tables takes.
    _SELECT_BITS = 2

    def __init__(self, in_bits: int, shift_bits: int, out_bits: int):
        self.in_bits = in_bits
        self.out_bits = out_bits
        super().__init__(
            {"i": In(signed(in_bits)), "shift": In(shift_bits), "magnitude": Out(out_bits), "negative": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        """Build the pipeline."""
        m = Module()
        sign, none = self.i[-1], Const(0, 1)
        fine_bits = min(self._SELECT_BITS, len(self.shift))
        place = len(self.shift)
        # Of twice the value, as the last step halves it.
        bits = Cat(none, self.i[:-1])
        #: What the value is filled up with until it is complemented, if not from the start.
        fill = sign if (place - fine_bits) % self._SELECT_BITS else none
        if fill is none:
            bits ^= sign.replicate(self.in_bits)
        beyond: Value = none
        while place > fine_bits:
            select = min(self._SELECT_BITS, place - fine_bits)
            place -= select
            kept = self.out_bits + (1 << place) - 1
            bits, above = _shifted(bits, self.shift[place : place + select], 1 << place, kept, fill)
            beyond |= above
        if fill is sign:
            bits ^= sign.replicate(len(bits))
        coarse = Signal(len(bits), reset_less=True)
        over, negative = Signal(reset_less=True), Signal(reset_less=True)
        rest = Signal(fine_bits, reset_less=True)
        m.d.sync += [coarse.eq(bits), over.eq(beyond), negative.eq(sign), rest.eq(self.shift[:fine_bits])]

        fine = Signal(self.out_bits, reset_less=True)
        complement = Signal(reset_less=True)
        bits, above = _shifted(coarse, rest, 1, self.out_bits, none)
        m.d.sync += [fine.eq(bits), complement.eq(negative)]
        with m.If(over | above):
            m.d.sync += fine.eq(~0)
        m.d.comb += [self.magnitude.eq(fine), self.negative.eq(complement)]
        return m


class RoundingShift(wiring.Component):
    """``o = sat(rs(i, shift), out_bits)``, a new value each cycle, ``latency`` cycles later.

    Three registered steps: those of a :class:`SaturatingShift`, and the rounding. The saturation keeps one bit more than the
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
    latency = SaturatingShift.latency + 1

    def __init__(self, in_bits: int, shift_bits: int, out_bits: int):
        self._shifter = SaturatingShift(in_bits, shift_bits, out_bits)
        super().__init__({"i": In(signed(in_bits)), "shift": In(shift_bits), "o": Out(signed(out_bits))})

    def elaborate(self, platform: object) -> Module:
        """Build the pipeline."""
        m = Module()
        m.submodules.shifter = shifter = self._shifter
        m.d.comb += [shifter.i.eq(self.i), shifter.shift.eq(self.shift)]
        m.d.sync += self.o.eq(_rounded(shifter.magnitude, shifter.negative))
        return m
