"""The rounded logarithm of attention's divisors (integer contract, section 7)."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.delay import delayed
from hw.interfaces import PARAM
from quant.contract import ACC_BITS, CODE_BITS

#: Bits of a divisor: an accumulator that is never negative.
DIVISOR_BITS = ACC_BITS - 1
#: Bits of the smallest exponent.
DIV_MIN_BITS = PARAM["shift"].width


class Log2(wiring.Component):
    """``code = min(max(e - div_min, 0), 15)`` with ``e`` the leading one's index plus the bit below it; 0 for ``d = 0``.

    A pure pipeline: a new divisor each cycle, ``latency`` cycles. The divisor is shifted left until its leading one is on top, by
    ever smaller powers of two, so that the bit below the leading one always ends in the same place.

    Members
    -------
    d : In(DIVISOR_BITS)
        The divisor.
    div_min : In(DIV_MIN_BITS)
        Exponent of code 0, of the same cycle.
    code : Out(CODE_BITS)
        The code.
    """

    #: Cycles from ``d`` to ``code``: two for the leading one, one for its rounding, one for the code.
    latency = 4
    #: Width that the normalization works on.
    _STEPS = ceil_log2(DIVISOR_BITS)

    def __init__(self) -> None:
        super().__init__({"d": In(DIVISOR_BITS), "div_min": In(DIV_MIN_BITS), "code": Out(CODE_BITS)})

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
        m.d.sync += exponent.eq(DIVISOR_BITS - 1 - places + value[-2])
        some = delayed(m, value[-1], 1, "some")
        above = exponent - delayed(m, self.div_min, 3, "div_min")
        limit = (1 << CODE_BITS) - 1
        m.d.sync += self.code.eq(Mux(~some | (above < 0), 0, Mux(above > limit, limit, above)))
        return m
