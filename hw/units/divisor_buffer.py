"""Where the codes of attention's divisors wait for the quotients (integer contract, section 7)."""

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.cost import Resources, ram
from hw.delay import delayed
from hw.interfaces import SPLIT_BITS
from hw.units.log2 import FULL_CODE_BITS


class DivisorBuffer(wiring.Component):
    """One code a pixel, written ``l`` pixels at once, read in the order of the slots of a result.

    A row written is readable by requests of the next cycle.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes; ``divisor_rows`` rows of ``l`` pixels.

    Members
    -------
    write_valid : In(1), write_row : In, write_codes : In(ArrayLayout(FULL_CODE_BITS, l))
        A row: the codes of ``l`` consecutive pixels of a head.
    read_row : In, read_px : In(log2 l), read_split : In(SPLIT_BITS)
        A request each cycle: a row and the first pixel within it, a multiple of ``lp = 2^read_split``.
    read_codes : Out(ArrayLayout(FULL_CODE_BITS, l))
        Slot ``i`` has the code of pixel ``read_px + i mod lp`` of the row, ``latency`` cycles later.
    """

    #: Cycles from a request to ``read_codes``: the memory's register and that of the selection.
    latency = 2

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        codes = data.ArrayLayout(unsigned(FULL_CODE_BITS), config.l)
        super().__init__({
            "write_valid": In(1),
            "write_row": In(ceil_log2(config.divisor_rows)),
            "write_codes": In(codes),
            "read_row": In(ceil_log2(config.divisor_rows)),
            "read_px": In(max(1, exact_log2(config.l))),
            "read_split": In(SPLIT_BITS),
            "read_codes": Out(codes),
        })

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The codes."""
        return ram(unsigned(config.l * FULL_CODE_BITS), config.divisor_rows)

    def elaborate(self, platform: object) -> Module:
        """One memory, and a multiplexer a slot."""
        m = Module()
        lanes, bits = self.config.l, exact_log2(self.config.l)
        # A row travels as plain bits, so that the memory is one Verilog array.
        m.submodules.memory = memory = Memory(shape=unsigned(lanes * FULL_CODE_BITS), depth=self.config.divisor_rows, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write_valid),
            write.addr.eq(self.write_row),
            write.data.eq(self.write_codes),
            read.en.eq(1),
            read.addr.eq(self.read_row),
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
