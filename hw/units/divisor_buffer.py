"""Where the codes of attention's divisors wait for the quotients (integer contract, section 7)."""

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.interfaces import PIXEL_BITS, SPLIT_BITS
from hw.units.delay import delayed
from quant.contract import CODE_BITS


class DivisorBuffer(wiring.Component):
    """One code a pixel, written ``l`` pixels at once, read in the order of the slots of a result.

    A row written is readable by requests of the next cycle.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes; holds ``max_attention_pixels``.

    Members
    -------
    write_valid : In(1), write_px : In(PIXEL_BITS), write_codes : In(ArrayLayout(CODE_BITS, l))
        Codes of the pixels from ``write_px``, a multiple of ``l``.
    read_px : In(PIXEL_BITS), read_split : In(SPLIT_BITS)
        A request each cycle: a pixel that is a multiple of ``lp = 2^read_split``.
    read_codes : Out(ArrayLayout(CODE_BITS, l))
        Slot ``i`` has the code of pixel ``read_px + i mod lp``, ``latency`` cycles later.
    """

    #: Cycles from a request to ``read_codes``: the memory's register and that of the selection.
    latency = 2

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        codes = data.ArrayLayout(unsigned(CODE_BITS), config.l)
        super().__init__({
            "write_valid": In(1),
            "write_px": In(PIXEL_BITS),
            "write_codes": In(codes),
            "read_px": In(PIXEL_BITS),
            "read_split": In(SPLIT_BITS),
            "read_codes": Out(codes),
        })

    def elaborate(self, platform: object) -> Module:
        """One memory, and a multiplexer a slot."""
        m = Module()
        lanes, bits = self.config.l, exact_log2(self.config.l)
        rows = max(2, -(-self.config.max_attention_pixels // lanes))
        # A row travels as plain bits, so that the memory is one Verilog array.
        m.submodules.memory = memory = Memory(shape=unsigned(lanes * CODE_BITS), depth=rows, init=[])
        write, read = memory.write_port(), memory.read_port()
        address = slice(bits, bits + ceil_log2(rows))
        m.d.comb += [
            write.en.eq(self.write_valid),
            write.addr.eq(self.write_px[address]),
            write.data.eq(self.write_codes),
            read.en.eq(1),
            read.addr.eq(self.read_px[address]),
        ]
        offset = delayed(m, self.read_px[:bits], 1, "offset")
        # Bit b of a slot's place in the row: the slot's own below the split, the pixel's from there on.
        inner = Signal(bits, reset_less=True)
        m.d.sync += inner.eq(Cat(self.read_split > b for b in range(bits)))
        row = data.View(self.read_codes.shape(), read.data)
        for slot in range(lanes):
            place = Cat(Mux(inner[b], Const(slot >> b & 1, 1), offset[b]) for b in range(bits))
            m.d.sync += self.read_codes[slot].eq(row[place])
        return m
