"""The O buffer: what a result of the network becomes, int16, until STORE takes it, a beat at a time."""

from amaranth import Array, Module, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.cost import DSP_PRODUCT_BITS, Resources, ram
from hw.delay import delayed
from hw.interfaces import GROUP_BITS, LOGIT_BITS, PIXEL_BITS, ROW_BITS, SPLIT_BITS, words
from hw.memory.placement import PlacedSignature, Placement
from hw.memory.rotate import Rotator
from quant.contract import ACT_BITS

#: Bits of a value that post-processing's other destinations do not have.
UPPER_BITS = LOGIT_BITS - ACT_BITS


def beat_pixels(config: AcceleratorConfig) -> int:
    """Pixels of a channel group in a beat: at least 2."""
    return 8 * config.beat_bytes // (config.m * LOGIT_BITS)


class BeatReadSignature(wiring.Signature):
    """A read of the O buffer; answers a fixed number of cycles later, in order.

    Members
    -------
    px : Out(PIXEL_BITS)
        The first pixel, a multiple of :func:`beat_pixels`.
    cg, base, rows, skew : Out
        As in :class:`hw.interfaces.ReadSignature`.
    mask : Out(beat_pixels)
        Pixels that answer; the others are 0.
    data : In(ArrayLayout(ArrayLayout(signed(LOGIT_BITS), m), beat_pixels))
        ``[pixel][channel]``.
    """

    def __init__(self, config: AcceleratorConfig):
        pixels = beat_pixels(config)
        super().__init__({
            "px": Out(PIXEL_BITS),
            "cg": Out(GROUP_BITS),
            "base": Out(ROW_BITS),
            "rows": Out(ROW_BITS),
            "skew": Out(SPLIT_BITS),
            "mask": Out(pixels),
            "data": In(data.ArrayLayout(data.ArrayLayout(signed(LOGIT_BITS), config.m), pixels)),
        })


class OutputBuffer(wiring.Component):
    """``l`` banks of words of int16, with the places of an :class:`hw.memory.bank_buffer.BankBuffer`.

    Words come in two halves: the lower bytes have been moved to their banks with those of all other buffers, the upper ones
    are moved here. A read is of a beat's pixels, all of them in one row, whose banks differ modulo their number: so it
    needs a row for all banks, a choice among those that are as far apart, and a rotation of a beat.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.

    Members
    -------
    read : In(BeatReadSignature)
        Answers ``read_latency`` cycles later.
    write : In(PlacedSignature)
        Lower bytes, one write a cycle, readable ``BankBuffer.write_latency`` cycles later.
    upper : In(ArrayLayout(ArrayLayout(signed(UPPER_BITS), m), l))
        Upper bytes by slot, in the cycle in which the lower ones are given to :class:`hw.memory.placement.Placement`.
    amount : In(log2 l)
        Its ``amount``.
    """

    read_latency = 6

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__({
            "read": In(BeatReadSignature(config)),
            "write": In(PlacedSignature(config, 1)),
            "upper": In(words(config, signed(UPPER_BITS))),
            "amount": In(exact_log2(config.l)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The banks, and the multiplier of the channel group that is read."""
        banks = ram(unsigned(config.m * LOGIT_BITS), config.o_rows) * config.l
        return banks + Resources(dsp=1 if ceil_log2(config.o_rows) >= DSP_PRODUCT_BITS else 0)

    def elaborate(self, platform: object) -> Module:
        """Banks, the writing side and the reading side."""
        m = Module()
        word = unsigned(self.config.m * LOGIT_BITS)
        banks = [memory.Memory(shape=word, depth=self.config.o_rows, init=[]) for _ in range(self.config.l)]
        for b, bank in enumerate(banks):
            m.submodules[f"bank_{b}"] = bank
        self._elaborate_write(m, banks)
        self._elaborate_read(m, banks)
        return m

    def _elaborate_write(self, m: Module, banks: list[memory.Memory]) -> None:
        write, lanes, size = self.write, self.config.l, self.config.m
        value_layout = data.StructLayout({"low": ACT_BITS, "high": UPPER_BITS})
        m.submodules.rotator = rotator = Rotator(unsigned(size * UPPER_BITS), lanes)
        upper = delayed(m, self.upper, Placement.latency - Rotator.latency, "upper")
        m.d.comb += [rotator.amount.eq(self.amount)]
        m.d.comb += [rotator.i[i].eq(upper[i].as_value()) for i in range(lanes)]
        base = delayed(m, write.base[: ceil_log2(self.config.o_rows)], Placement.latency, "write_base")
        valid = delayed(m, write.valid, Placement.latency, "write_valid", reset=True)
        for b, bank in enumerate(banks):
            port = bank.write_port()
            row, en = Signal.like(port.addr, name=f"write_row_{b}"), Signal(name=f"write_{b}")
            word = Signal(data.ArrayLayout(value_layout, size), name=f"write_word_{b}")
            m.d.sync += [row.eq(base + write.placed.rows[b]), en.eq(valid & write.placed.mask[b])]
            for channel, value in enumerate(word):
                m.d.sync += [
                    value.low.eq(write.placed.words[b][channel]),
                    value.high.eq(rotator.o[b].word_select(channel, UPPER_BITS)),
                ]
            m.d.comb += [port.en.eq(en), port.addr.eq(row), port.data.eq(word)]

    def _elaborate_read(self, m: Module, banks: list[memory.Memory]) -> None:
        config, read = self.config, self.read
        bits, pixels = exact_log2(config.l), beat_pixels(config)
        near = exact_log2(pixels)
        # Steps 1 and 2: the row, and the first pixel's bank.
        row_bits = ceil_log2(config.o_rows)
        group_row, chunk, row = (Signal(row_bits, name=name) for name in ("group_row", "chunk", "row"))
        first = Signal(bits)
        m.d.sync += [
            group_row.eq(read.base + read.cg * read.rows),
            chunk.eq(read.px >> bits),
            row.eq(group_row + chunk),
            first.eq(read.px + (read.cg << read.skew)),
        ]
        # Step 3: the memory; step 4: its output register.
        found = []
        for b, bank in enumerate(banks):
            port = bank.read_port(domain="sync")
            word = Signal(port.data.shape(), name=f"word_{b}")
            m.d.comb += [port.addr.eq(row), port.en.eq(1)]
            m.d.sync += word.eq(port.data)
            found.append(word)
        # Step 5: one of the banks that are a beat apart; step 6: the first pixel to lane 0.
        chosen_at, turned_at = delayed(m, first, 3, "first"), Signal(near)
        m.d.sync += turned_at.eq(chosen_at)
        unread, chosen = delayed(m, ~read.mask, self.read_latency - 1, "unread"), []
        for n in range(pixels):
            # The nearest one from the first pixel's bank on.
            distance = Signal(near, name=f"distance_{n}")
            bank_of = Signal(bits, name=f"bank_of_{n}")
            word = Signal.like(found[0], name=f"chosen_{n}")
            m.d.comb += [distance.eq(n - chosen_at), bank_of.eq(chosen_at + distance)]
            m.d.sync += word.eq(Array(found[n::pixels])[bank_of[near:]])
            chosen.append(word)
        for n in range(pixels):
            pixel = Signal.like(found[0], name=f"pixel_{n}", reset_less=True)
            with m.If(unread[n]):
                m.d.sync += pixel.eq(0)
            with m.Else():
                m.d.sync += pixel.eq(Array(chosen)[(turned_at + n)[:near]])
            m.d.comb += read.data[n].eq(pixel)


__all__ = ["BeatReadSignature", "OutputBuffer", "beat_pixels"]
