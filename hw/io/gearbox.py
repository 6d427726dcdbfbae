"""Repacks bus beats into pixel pairs."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig

#: Colour channels of a picture.
CHANNELS = 3
#: Bytes of a pair of neighbouring pixels.
PAIR_BYTES = 2 * CHANNELS
#: Pairs that leave in one cycle.
PAIRS = 2

#: ``pairs`` pairs, first pixel lowest; only the first one counts where ``all`` is low.
PAIRS_LAYOUT = data.StructLayout({"pairs": data.ArrayLayout(8 * PAIR_BYTES, PAIRS), "all": 1})


class PixelGearbox(wiring.Component):
    """Beats of contiguous interleaved pixels in, up to four pixels a cycle out.

    A beat is taken in the cycle that leaves less than two pairs, so as long as beats come two pairs leave in every cycle, and a
    single one only where the next beat is late.

    Members
    -------
    i : In(stream)
        Beats, first byte lowest.
    o : Out(stream of PAIRS_LAYOUT)
        One or two pairs.
    clear : In(1)
        Forget what is left of the last beat.
    """

    def __init__(self, config: AcceleratorConfig):
        self._bytes = config.beat_bytes
        super().__init__({
            "i": In(stream.Signature(unsigned(8 * config.beat_bytes))),
            "o": Out(stream.Signature(PAIRS_LAYOUT)),
            "clear": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        """A shift register of bytes; beats and pairs have an even number of bytes, so that few offsets occur."""
        m = Module()
        whole = PAIRS * PAIR_BYTES
        left = Signal(range(self._bytes + whole - 1))
        held = Signal(8 * (self._bytes + whole - 2))
        after, rest = Signal.like(left), Signal.like(held)
        m.d.comb += [
            self.o.valid.eq(left >= PAIR_BYTES),
            self.o.payload.pairs.eq(held),
            self.o.payload.all.eq(left >= whole),
            after.eq(left),
            rest.eq(held),
            # An offered pair stays as it is until it is taken.
            self.i.ready.eq(Mux(self.o.valid, self.o.ready & (after < whole), 1)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.comb += [
                after.eq(left - Mux(self.o.payload.all, whole, PAIR_BYTES)),
                rest.eq(Mux(self.o.payload.all, held >> (8 * whole), held >> (8 * PAIR_BYTES))),
            ]
        m.d.sync += [left.eq(after), held.eq(rest)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += left.eq(after + self._bytes)
            with m.Switch(after):
                for count in range(0, whole, 2):
                    with m.Case(count):
                        m.d.sync += held.eq(Cat(rest[:8 * count], self.i.payload))
        with m.If(self.clear):
            m.d.sync += left.eq(0)
        return m
