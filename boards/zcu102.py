"""AMD ZCU102: the paper's board."""

from boards.board import Board

#: Four high-performance ports of 128 bits; DDR4-2400 of 64 bits at the processor.
ZCU102 = Board(
    name="zcu102",
    part="xczu9eg-ffvb1156-2-e",
    luts=274_080,
    memory_luts=144_000,
    flip_flops=548_160,
    bram36=912,
    dsps=2520,
    port_bytes=64,
    dram_bytes=19.2e9,
)
