"""The logarithm of attention's divisors, rounded or with a fraction (integer contract, section 7)."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.delay import delayed
from hw.interfaces import PARAM
from quant.contract import ACC_BITS, CODE_BITS, FRACTION_BITS

#: Bits of a divisor: an accumulator that is never negative.
DIVISOR_BITS = ACC_BITS - 1
#: Bits of the smallest exponent.
DIV_MIN_BITS = PARAM["shift"].width
#: Bits of a code with its fraction; a rounded one leaves the upper ones 0.
FULL_CODE_BITS = CODE_BITS + FRACTION_BITS


class Log2(wiring.Component):
    """The code of a divisor, 0 for ``d = 0``; ``i`` is its leading one's index, ``r`` the bit below and ``f`` the six bits below.

    ==========  =============================================================
    ``fine``    ``code``
    ==========  =============================================================
    0           ``min(max(i + r - div_min, 0), 15)``
    1           ``min(max(64 * (i - div_min) + f, 0), 1023)``
    ==========  =============================================================

    A pure pipeline: a new divisor each cycle, ``latency`` cycles. The divisor is shifted left until its leading one is on top, by
    ever smaller powers of two, so that the bits below the leading one always end in the same place.

    Members
    -------
    d : In(DIVISOR_BITS)
        The divisor.
    div_min : In(DIV_MIN_BITS)
        Exponent of code 0, of the same cycle.
    fine : In(1)
        Whether the code has a fraction, of the same cycle.
    code : Out(FULL_CODE_BITS)
        The code.
    """

    #: Cycles from ``d`` to ``code``: two for the leading one, one for its rounding, one for the code.
    latency = 4
    #: Width that the normalization works on.
    _STEPS = ceil_log2(DIVISOR_BITS)

    def __init__(self) -> None:
        super().__init__({"d": In(DIVISOR_BITS), "div_min": In(DIV_MIN_BITS), "fine": In(1), "code": Out(FULL_CODE_BITS)})

    def elaborate(self, platform: object) -> Module:
        """Build the pipeline."""
        m = Module()
        width = 1 << self._STEPS
        half = self._STEPS // 2
        value = Cat(Const(0, width - DIVISOR_BITS), self.d)
        # Bits of the number of places shifted; the leading one's index is ``DIVISOR_BITS - 1`` minus that.
        places = Const(0, 0)
        for step in reversed(range(self._STEPS)):
            empty = ~value[width - (1 << step):].any()
            shifted = Signal(width, name=f"shifted_{step}")
            m.d.comb += shifted.eq(Mux(empty, value << (1 << step), value))
            value, places = shifted, Cat(empty, places)
            if step in (half, 0):
                value = delayed(m, value, 1, f"value_{step}")
                kept = Signal(len(places), name=f"places_{step}", reset_less=True)
                m.d.sync += kept.eq(places)
                places = kept

        exponent = Signal(range(DIVISOR_BITS + 1), reset_less=True)
        fine = delayed(m, self.fine, 2, "fine")
        m.d.sync += exponent.eq(DIVISOR_BITS - 1 - places + (value[-2] & ~fine))
        some, still_fine = delayed(m, value[-1], 1, "some"), delayed(m, fine, 1, "still_fine")
        fraction = delayed(m, value[-1 - FRACTION_BITS : -1], 1, "fraction")
        above = exponent - delayed(m, self.div_min, 3, "div_min")
        with m.If(~some | (above < 0)):
            m.d.sync += self.code.eq(0)
        with m.Elif(still_fine):
            # Beyond the largest whole part every bit is set, those of the fraction too.
            m.d.sync += self.code.eq(Mux(above >= 1 << CODE_BITS, ~0, Cat(fraction, above[:CODE_BITS])))
        with m.Else():
            m.d.sync += self.code.eq(Mux(above >= 1 << CODE_BITS, (1 << CODE_BITS) - 1, above[:CODE_BITS]))
        return m
