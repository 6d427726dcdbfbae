"""What there is to know of a board before anything is built for it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Board:
    """A board, the device on it, and the memory behind its ports."""

    name: str
    part: str
    luts: int
    #: Lookup tables of those that can be memory.
    memory_luts: int
    flip_flops: int
    #: 36-Kbit block RAMs.
    bram36: int
    dsps: int
    #: Bytes a cycle of all memory ports that the fabric has.
    port_bytes: int
    #: What the DRAM gives at most, in bytes a second.
    dram_bytes: float
