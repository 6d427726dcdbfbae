"""Sums over pixels: what average pooling and attention's Ksum are made of (integer contract, sections 5 and 7)."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.delay import delayed
from hw.interfaces import words
from quant.contract import ACC_BITS, ACT_BITS


class RowSum(wiring.Component):
    """Adds the words of all lanes, channel by channel, over any number of beats.

    A beat a cycle, gaps allowed. The tree over the lanes registers every level; the last register accumulates.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.

    Members
    -------
    valid : In(1)
        A beat.
    words : In(words(config))
        ``[lane][channel]``.
    lanes : In(l)
        Lanes that count.
    relu : In(1)
        Add ``max(x, 0)`` instead of ``x``.
    first, last : In(1)
        First and last beat of a sum.
    o_valid : Out(1)
        ``sums`` is complete: ``latency`` cycles after a beat with ``last``, for one cycle.
    sums : Out(ArrayLayout(signed(ACC_BITS), m))
        The sums so far.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__({
            "valid": In(1),
            "words": In(words(config)),
            "lanes": In(config.l),
            "relu": In(1),
            "first": In(1),
            "last": In(1),
            "o_valid": Out(1),
            "sums": Out(data.ArrayLayout(signed(ACC_BITS), config.m)),
        })

    @property
    def latency(self) -> int:
        """Cycles from the last beat to ``o_valid``: the mask, the tree's levels, the accumulator."""
        return 2 + exact_log2(self.config.l)

    def elaborate(self, platform: object) -> Module:
        """Build the trees and the accumulators."""
        m = Module()
        before = self.latency - 1
        valid = delayed(m, self.valid, before, "valid", reset=True)
        first = delayed(m, self.first, before, "first")
        m.d.sync += self.o_valid.eq(valid & delayed(m, self.last, before, "last"))
        for channel in range(self.config.m):
            level = []
            for lane in range(self.config.l):
                value = self.words[lane][channel]
                kept = Signal(signed(ACT_BITS), name=f"kept_{channel}_{lane}", reset_less=True)
                m.d.sync += kept.eq(Mux(~self.lanes[lane] | (self.relu & value[-1]), 0, value))
                level.append(kept)
            while len(level) > 1:
                pairs = []
                for one, two in zip(level[::2], level[1::2], strict=True):
                    pair = Signal((one + two).shape(), name=f"sum_{channel}_{len(level)}_{len(pairs)}", reset_less=True)
                    m.d.sync += pair.eq(one + two)
                    pairs.append(pair)
                level = pairs
            with m.If(valid):
                m.d.sync += self.sums[channel].eq(Mux(first, 0, self.sums[channel]) + level[0])
        return m
