"""What a component costs on a Xilinx FPGA, counted from its sizes: multipliers and memories."""

from dataclasses import dataclass

from amaranth.hdl import Shape, ShapeLike

#: Shapes of an 18-Kbit block RAM with one read and one write port: rows and bits of a row. A 36-Kbit one is two of them.
_BLOCK_RAM = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
#: Shapes of eight lookup tables as such a memory.
_DISTRIBUTED = ((32, 14), (64, 7))
#: Memories of up to so many rows are distributed ones.
DISTRIBUTED_ROWS = 64
#: Products of fewer bits are made of lookup tables.
DSP_PRODUCT_BITS = 9


@dataclass(frozen=True)
class Resources:
    """DSP slices, 18-Kbit block RAMs, lookup tables used as memory and those that multipliers are made of."""

    dsp: int = 0
    bram18: int = 0
    lutram: int = 0
    lutmul: int = 0

    @property
    def bram36(self) -> float:
        """36-Kbit block RAMs; a half is an 18-Kbit one."""
        return self.bram18 / 2

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.dsp + other.dsp, self.bram18 + other.bram18, self.lutram + other.lutram, self.lutmul + other.lutmul)

    def __mul__(self, count: int) -> "Resources":
        return Resources(self.dsp * count, self.bram18 * count, self.lutram * count, self.lutmul * count)


def ram(word: ShapeLike, rows: int) -> Resources:
    """A memory with one write port and one read port, both clocked."""
    bits = Shape.cast(word).width
    if rows <= DISTRIBUTED_ROWS:
        return Resources(lutram=8 * min(-(-rows // deep) * -(-bits // wide) for deep, wide in _DISTRIBUTED))
    return Resources(bram18=min(-(-rows // deep) * -(-bits // wide) for deep, wide in _BLOCK_RAM))


def buffered_fifo(word: ShapeLike, depth: int) -> Resources:
    """An ``amaranth.lib.fifo.SyncFIFOBuffered``, which keeps one word outside its memory."""
    return ram(word, depth - 1)
