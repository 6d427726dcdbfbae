"""The reciprocal that LayerNorm needs once a vector (integer contract, section 6)."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

#: The numerator is ``2^NUMERATOR_LOG2``.
NUMERATOR_LOG2 = 30
#: Bits of the reciprocal, which saturates.
INVERSE_BITS = 24


class Reciprocal(wiring.Component):
    """``inverse = min(floor(2^30 / divisor), 2^24 - 1)``, one bit of the quotient a cycle.

    Long division: of the numerator only its leading one ever joins the remainder, then zeros.

    Parameters
    ----------
    divisor_bits : int
        Width of the divisor.

    Members
    -------
    start : In(1)
        Begin with ``divisor``; also ends a computation under way.
    divisor : In(divisor_bits)
        Not 0; read with ``start``.
    done : Out(1)
        High for one cycle, ``cycles`` after ``start``.
    inverse : Out(INVERSE_BITS)
        The reciprocal, from ``done`` until the next computation ends.
    """

    #: Cycles from ``start`` to ``done``: the quotient's bits, then the saturation.
    cycles = NUMERATOR_LOG2 + 3

    def __init__(self, divisor_bits: int):
        super().__init__({
            "start": In(1),
            "divisor": In(divisor_bits),
            "done": Out(1),
            "inverse": Out(INVERSE_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        """One step a cycle."""
        m = Module()
        quotient_bits = NUMERATOR_LOG2 + 1
        divisor = Signal.like(self.divisor)
        remainder = Signal.like(self.divisor)
        quotient = Signal(quotient_bits)
        leading = Signal()
        left = Signal(range(quotient_bits + 1))
        complete = Signal()
        grown = Cat(leading, remainder)
        difference = grown - divisor
        fits = difference >= 0
        m.d.sync += [complete.eq((left == 1) & ~self.start), self.done.eq(complete & ~self.start)]
        with m.If(self.start):
            m.d.sync += [divisor.eq(self.divisor), remainder.eq(0), quotient.eq(0), leading.eq(1), left.eq(quotient_bits)]
        with m.Elif(left != 0):
            m.d.sync += [
                left.eq(left - 1),
                leading.eq(0),
                remainder.eq(Mux(fits, difference, grown)),
                quotient.eq(Cat(fits, quotient)),
            ]
        with m.If(complete):
            m.d.sync += self.inverse.eq(Mux(quotient[INVERSE_BITS:].any(), (1 << INVERSE_BITS) - 1, quotient))
        return m
