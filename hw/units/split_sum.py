"""What the Z buffer keeps of a result of K^T V or of a sum of keys (integer contract, section 7)."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.units.rounding import saturated
from quant.contract import ACT_BITS, LOW_BITS, PRE_BITS, SUM_BITS


class SplitSum(wiring.Component):
    """One lane: ``t`` in ``SUM_BITS`` and two parts, or ``q``.

    Combinational, between the registers of the second step and a memory: no bit depends on more than six others.

    Members
    -------
    t : In(signed(PRE_BITS)), q : In(signed(ACT_BITS))
        What the first step gave, and the second.
    wide : In(1)
        Whether ``t`` is kept.
    high : Out(signed(ACT_BITS)), low : Out(LOW_BITS)
        ``2^LOW_BITS * high + low`` is what is kept of ``t`` if ``wide``, else ``high`` is ``q`` and ``low`` of no meaning.
    """

    def __init__(self) -> None:
        super().__init__({
            "t": In(signed(PRE_BITS)),
            "q": In(signed(ACT_BITS)),
            "wide": In(1),
            "high": Out(signed(ACT_BITS)),
            "low": Out(LOW_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        """Saturation, and the choice."""
        m = Module()
        total = Signal(signed(SUM_BITS))
        m.d.comb += [
            total.eq(saturated(self.t, SUM_BITS)),
            self.high.eq(Mux(self.wide, total >> LOW_BITS, self.q)),
            self.low.eq(total[:LOW_BITS]),
        ]
        return m
