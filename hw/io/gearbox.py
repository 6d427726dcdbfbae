"""Repacks bus beats into chunks of pixel pairs, none of which straddles two rows of the picture."""

from math import gcd

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig

#: Colour channels of a picture.
CHANNELS = 3
#: Bytes of a pair of neighbouring pixels.
PAIR_BYTES = 2 * CHANNELS


class Regrouper(wiring.Component):
    """Words of ``take`` units in, ``count`` units at a time out, in order.

    What comes out lies in the last word that was taken and the one that is offered: a multiplexer over the units of the last one
    that may be left, of which there are few where ``take`` and ``count`` have a large common divisor.

    Parameters
    ----------
    unit_bits :
        Bits of a unit.
    take, give :
        Units of a word that comes in, and of one that goes out: at most as many.

    Members
    -------
    i : In(stream)
        Words, first unit lowest.
    o : Out(stream)
        Words, first unit lowest; those beyond ``count`` mean nothing.
    count : In
        Units that leave with the next word, 1 to ``give``; stays as it is while ``o`` is valid and not taken.
    ended : In(1)
        A level: no word comes any more. What is left then leaves though it may be less than ``count``.
    clear : In(1)
        Forget what is left.
    """

    def __init__(self, unit_bits: int, take: int, give: int):
        self._unit, self._take, self._give = unit_bits, take, give
        super().__init__({
            "i": In(stream.Signature(data.ArrayLayout(unit_bits, take))),
            "o": Out(stream.Signature(data.ArrayLayout(unit_bits, give))),
            "count": In(range(give + 1)),
            "ended": In(1),
            "clear": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        """The last word, how much of it is left, and the multiplexer over both words."""
        m = Module()
        take, unit = self._take, self._unit
        left = Signal(range(take))
        last = Signal(unit * take)
        beyond = Signal()
        window = Cat(last, self.i.payload.as_value())
        m.d.comb += [
            beyond.eq(self.count > left),
            self.o.valid.eq(~beyond | self.i.valid | (self.ended & (left != 0))),
            self.i.ready.eq(self.o.ready & beyond),
        ]
        with m.Switch(left):
            for some in range(take):
                with m.Case(some):
                    m.d.comb += self.o.payload.eq(window[unit * (take - some):][:unit * self._give])
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [last.eq(self.i.payload), left.eq(left + take - self.count)]
        with m.Elif(self.o.valid & self.o.ready & ~beyond):
            m.d.sync += left.eq(left - self.count)
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += left.eq(0)
        with m.If(self.clear):
            m.d.sync += left.eq(0)
        return m


class PixelGearbox(wiring.Component):
    """Beats of contiguous interleaved pixels in, chunks of up to ``pairs`` pairs out, one a cycle as long as beats come.

    The first step makes whole chunks, whose places in the beats are few; the second one moves them to where the row begins. A
    chunk of fewer pairs, at a row's end, leaves the rest for the next row.

    Parameters
    ----------
    config :
        Sizes: beats.
    pairs :
        Pairs of a chunk, no more than a beat has bytes for.

    Members
    -------
    i : In(stream)
        Beats, first byte lowest.
    o : Out(stream)
        Chunks of ``pairs`` pairs, first pixel lowest; pairs beyond ``count`` mean nothing.
    count : In
        Pairs that leave with the next chunk, at least one; stays as it is while ``o`` is valid and not taken.
    ended : In(1)
        A level: no beat comes any more. What is left of the last one may be less than a chunk.
    clear : In(1)
        Forget what is left.
    """

    def __init__(self, config: AcceleratorConfig, pairs: int):
        self._bytes, self._pairs = config.beat_bytes, pairs
        super().__init__({
            "i": In(stream.Signature(unsigned(8 * config.beat_bytes))),
            "o": Out(stream.Signature(data.ArrayLayout(8 * PAIR_BYTES, pairs))),
            "count": In(range(pairs + 1)),
            "ended": In(1),
            "clear": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        """Beats to chunks, chunks to rows."""
        m = Module()
        whole = self._pairs * PAIR_BYTES
        unit = gcd(self._bytes, whole)
        m.submodules.chunks = chunks = Regrouper(8 * unit, self._bytes // unit, whole // unit)
        m.submodules.rows = rows = Regrouper(8 * PAIR_BYTES, self._pairs, self._pairs)
        wiring.connect(m, rows.o, wiring.flipped(self.o))
        m.d.comb += [
            chunks.i.valid.eq(self.i.valid),
            chunks.i.payload.eq(self.i.payload),
            self.i.ready.eq(chunks.i.ready),
            chunks.count.eq(whole // unit),
            chunks.ended.eq(self.ended),
            rows.i.valid.eq(chunks.o.valid),
            rows.i.payload.eq(chunks.o.payload),
            chunks.o.ready.eq(rows.i.ready),
            rows.count.eq(self.count),
            chunks.clear.eq(self.clear),
            rows.clear.eq(self.clear),
        ]
        return m
