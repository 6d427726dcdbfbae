"""The sums of one of both engines; those that were made in two parts, as one (integer contract, section 7)."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig
from hw.delay import delayed
from hw.interfaces import result_layout
from quant.contract import ACC_BITS, LOW_BITS


class JoinedSums(wiring.Component):
    """Passes an engine's sums, or joins two of them.

    Those are MAT's over the upper parts of numbers, times ``2^LOW_BITS``, and over the lower ones, or R-MAC's over both halves of
    K's pixels.

    A pure pipeline: new accumulators each cycle, ``latency`` cycles. A lookup table for each bit of each sum: both engines' sums
    are registered before one is chosen, and what is added is reset where nothing is, so that adder and choices are one.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.

    Members
    -------
    mat, rmac : In(words(ACC_BITS))
        Each engine's accumulators.
    from_rmac : In(1)
        The sums are R-MAC's.
    apart : In(1)
        Nothing is joined. Otherwise lane 0 of each slot has the upper parts, lane 1 the lower ones (DIV); their sum goes to
        lane 0, and what goes to the others is of no meaning. Only from MAT.
    by_slot : In(1)
        Instead, the lower half of the slots has the upper parts, the upper half the lower ones (QZ of what is wide), or R-MAC's
        first ``m`` slots of each half have a sum over a half of the pixels (KTV); their sums go to the lower half. Never with
        ``apart``.
    sums : Out(words(ACC_BITS))
        The sums.
    """

    #: Cycles from ``mat`` and ``rmac`` to ``sums``.
    latency = 2

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        words = result_layout(config)["acc"].shape
        super().__init__(
            {
                "mat": In(words),
                "rmac": In(words),
                "from_rmac": In(1),
                "apart": In(1),
                "by_slot": In(1),
                "sums": Out(words),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """An adder for each sum that is made anywhere, a multiplexer for each other one."""
        m = Module()
        half = self.config.l // 2
        from_rmac, apart, by_slot = (
            delayed(m, value, 1, name)
            for value, name in ((self.from_rmac, "from_rmac"), (self.apart, "apart"), (self.by_slot, "by_slot"))
        )
        for slot in range(self.config.l):
            for lane in range(self.config.m):
                mine = delayed(m, self.mat[slot][lane], 1, f"mat_{slot}_{lane}")
                theirs = delayed(m, self.rmac[slot][lane], 1, f"rmac_{slot}_{lane}")
                if lane and slot >= half:
                    m.d.sync += self.sums[slot][lane].eq(Mux(from_rmac, theirs, mine))
                    continue
                # What is added, and when it is nothing and the other summand stays as it is.
                lower, nothing, alone = self.mat[slot][1], self.apart, apart
                if slot >= half:
                    nothing, alone = self.apart | self.by_slot, apart | by_slot
                else:
                    other = self.mat[slot + half][lane]
                    if slot < self.config.m < self.config.l:
                        other = Mux(self.from_rmac, self.rmac[slot + half][lane], other)
                    lower = other if lane else Mux(self.by_slot, other, lower)
                added = Signal(signed(ACC_BITS), name=f"added_{slot}_{lane}", reset_less=True)
                m.d.sync += added.eq(lower)
                with m.If(nothing):
                    m.d.sync += added.eq(0)
                # The sum fits, so that what the shift pushes out is sign.
                shifted = (mine << LOW_BITS)[:ACC_BITS].as_signed()
                m.d.sync += self.sums[slot][lane].eq(added + Mux(from_rmac, theirs, Mux(alone, mine, shifted)))
        return m
