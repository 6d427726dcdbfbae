"""AMD ZCU104."""

from boards.board import Board

#: Four high-performance ports of 128 bits; DDR4-2400 of 64 bits at the processor. Its 96 UltraRAMs are not used yet.
ZCU104 = Board(
    name="zcu104",
    part="xczu7ev-ffvc1156-2-e",
    luts=230_400,
    memory_luts=101_760,
    flip_flops=460_800,
    bram36=312,
    dsps=1728,
    port_bytes=64,
    dram_bytes=19.2e9,
)
