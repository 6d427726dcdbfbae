"""Repacks bus beats into pixel pairs."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig

#: Colour channels of a picture.
CHANNELS = 3
#: Bytes of a pair of neighbouring pixels.
PAIR_BYTES = 2 * CHANNELS


class PixelGearbox(wiring.Component):
    """Beats of contiguous interleaved pixels in, two pixels a cycle out.

    A beat is taken whenever less than a pair is left, which costs one cycle: ``B`` bytes take ``B / 6 + 1`` cycles on average.

    Members
    -------
    i : In(stream)
        Beats, first byte lowest.
    o : Out(stream)
        Pairs: first pixel, channel 0, lowest.
    clear : In(1)
        Forget what is left of the last beat.
    """

    def __init__(self, config: AcceleratorConfig):
        self._bytes = config.beat_bytes
        super().__init__({
            "i": In(stream.Signature(unsigned(8 * config.beat_bytes))),
            "o": Out(stream.Signature(unsigned(8 * PAIR_BYTES))),
            "clear": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        """A shift register of bytes; beats and pairs have an even number of bytes, so that few offsets occur."""
        m = Module()
        left = Signal(range(self._bytes + PAIR_BYTES - 1))
        held = Signal(8 * (self._bytes + PAIR_BYTES - 2))
        m.d.comb += [
            self.o.valid.eq(left >= PAIR_BYTES),
            self.o.payload.eq(held),
            self.i.ready.eq(left < PAIR_BYTES),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [left.eq(left - PAIR_BYTES), held.eq(held >> (8 * PAIR_BYTES))]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += left.eq(left + self._bytes)
            with m.Switch(left):
                for count in range(0, PAIR_BYTES, 2):
                    with m.Case(count):
                        m.d.sync += held.eq(Cat(held[:8 * count], self.i.payload))
        with m.If(self.clear):
            m.d.sync += left.eq(0)
        return m
