"""Notices that nothing moves any more."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi.signature import LITE_BITS


class Watchdog(wiring.Component):
    """Counts the cycles since the last sign of progress.

    Members
    -------
    enable : In(1)
        Count; while low the count is held at zero.
    progress : In(1)
        Something moved in this cycle.
    limit : In
        Cycles without progress that are too many; 0 waits for ever.
    expired : Out(1)
        High from the cycle in which ``limit`` cycles without progress have passed, until progress or not ``enable``.
    """

    def __init__(self) -> None:
        super().__init__({"enable": In(1), "progress": In(1), "limit": In(LITE_BITS), "expired": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """A counter."""
        m = Module()
        count = Signal(LITE_BITS)
        m.d.comb += self.expired.eq((self.limit != 0) & (count == self.limit))
        with m.If(~self.enable | self.progress):
            m.d.sync += count.eq(0)
        with m.Elif(~self.expired):
            m.d.sync += count.eq(count + 1)
        return m
