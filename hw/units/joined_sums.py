"""Sums that MAT made of the two parts of a number, as one sum (integer contract, section 7)."""

from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig
from hw.interfaces import result_layout
from quant.contract import ACC_BITS, LOW_BITS


class JoinedSums(wiring.Component):
    """``2^LOW_BITS`` times the sum over the upper parts plus that over the lower parts; everything else passes.

    A pure pipeline: new accumulators each cycle, ``latency`` cycles.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.

    Members
    -------
    acc : In(words(ACC_BITS))
        A result's accumulators.
    by_lane : In(1)
        Lane 0 of each slot has the upper parts, lane 1 the lower ones (DIV); their sum goes to lane 0.
    by_slot : In(1)
        The lower half of the slots has the upper parts, the upper half the lower ones (QZ of what is wide); their sums go to the
        lower half. Never with ``by_lane``.
    sums : Out(words(ACC_BITS))
        The sums. What was added to others is of no meaning.
    """

    #: Cycles from ``acc`` to ``sums``.
    latency = 1

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        words = result_layout(config)["acc"].shape
        super().__init__({"acc": In(words), "by_lane": In(1), "by_slot": In(1), "sums": Out(words)})

    def elaborate(self, platform: object) -> Module:
        """An adder for each sum that is made anywhere."""
        m = Module()
        half = self.config.l // 2
        for slot in range(self.config.l):
            for lane in range(self.config.m):
                upper, lower, joined = self.acc[slot][lane], 0, 0
                if lane == 0:
                    lower, joined = Mux(self.by_lane, self.acc[slot][1], 0), self.by_lane
                if slot < half:
                    lower, joined = lower | Mux(self.by_slot, self.acc[slot + half][lane], 0), joined | self.by_slot
                # The sum fits, so that what the shift pushes out is sign.
                shifted = (upper << LOW_BITS)[:ACC_BITS].as_signed()
                m.d.sync += self.sums[slot][lane].eq(Mux(joined, shifted, upper) + lower)
        return m
