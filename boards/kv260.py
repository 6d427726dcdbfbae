"""AMD Kria KV260."""

from boards.board import Board

#: Four high-performance ports of 128 bits; DDR4-2400 of 64 bits at the processor. Its 64 UltraRAMs are not used yet.
KV260 = Board(
    name="kv260",
    part="xck26-sfvc784-2LV-c",
    luts=117_120,
    memory_luts=57_600,
    flip_flops=234_240,
    bram36=144,
    dsps=1248,
    port_bytes=64,
    dram_bytes=19.2e9,
)
