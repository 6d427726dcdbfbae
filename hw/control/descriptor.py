"""The 64-byte descriptor: one task of one engine, as hardware layout and as Python values."""

import enum as py_enum
from collections.abc import Mapping

from amaranth.lib import data, enum

from triovit.errors import InternalError

#: First byte of every descriptor.
MAGIC = 0xA7
#: Bytes of a descriptor.
SIZE = 64


class Opcode(enum.Enum, shape=4):
    """What a task does, and which unit runs it."""

    END = 0    #: the program is over: report done when every unit is idle
    LOAD = 1   #: LOAD: picture from DRAM, unfolded for the stem convolution, to a buffer
    STORE = 2  #: STORE: O buffer to DRAM
    PW = 3     #: MAT (and R-MAC when ``joint``): 1x1, group, fully connected
    QZ = 4     #: MAT: Q Z with the weights that KTV left in the Z buffer
    DIV = 5    #: MAT: Q Ksum to the log2 unit and the divisor buffer
    LN = 6     #: MAT: LayerNorm of vectors
    DW = 7     #: R-MAC: depthwise convolution
    KTV = 8    #: R-MAC: K^T V and the row sum of K for one head
    POOL = 9   #: R-MAC: row sum of a map


class Unit(py_enum.IntFlag):
    """The units, as the bits of a descriptor's wait mask."""

    MAT = 1
    RMAC = 2
    LOAD = 4
    STORE = 8


class Buffer(enum.Enum, shape=4):
    """Where words are read from and written to."""

    X = 0
    Y = 1
    D = 2
    H = 3
    O = 4      # noqa: E741 - the output buffer
    Z = 5      #: K^T V, becomes the weights of QZ
    DIV = 6    #: the divisor buffer, through the log2 unit


class Act(enum.Enum, shape=2):
    """Second step of post-processing (integer contract, sections 3 and 7)."""

    NONE = 0
    HARDSWISH = 1
    RESIDUAL = 2
    QUOTIENT = 3


#: Fields in order: name, bits, meaning. Widths bound what any configuration may need; the compiler checks them.
FIELDS: tuple[tuple[str, object, str], ...] = (
    ("magic", 8, "0xA7"),
    ("opcode", Opcode, "the task"),
    ("wait", 4, "units that must be idle before the task starts (its own always is): bits of Unit"),
    ("tag", 16, "index of the layer in the artifact, for traces and errors"),
    ("src", Buffer, "buffer read"),
    ("src_base", 14, "first row of the source tensor"),
    ("src_rows", 14, "rows of one channel group of the source"),
    ("src_skew", 4, "log2 of the source's bank skew"),
    ("src_cg", 12, "first channel group read"),
    ("src_step", 8, "channel groups that the source advances by a tile (group convolution) or a head"),
    ("dst", Buffer, "buffer written"),
    ("dst_base", 14, "first row of the result"),
    ("dst_rows", 14, "rows of one channel group of the result"),
    ("dst_cg", 12, "first channel group written"),
    ("dst_cg_end", 12, "channel groups of the result; beyond it nothing is written"),
    ("dst2_on", 1, "write the result a second time"),
    ("dst2", Buffer, "second buffer written"),
    ("dst2_base", 14, "first row of the second result"),
    ("px_start", 16, "first output pixel (PW, LN; DW: the first of a row; POOL: the one written; 0 for the others)"),
    ("px_end", 16, "end of the output pixels"),
    ("lp", 4, "log2 of the blocks that run over pixels; the other L / 2^lp run over output channels"),
    ("tiles", 10, "output-channel tiles (PW), heads (QZ, DIV), channel sets (DW), groups of a head (KTV), groups (POOL)"),
    ("heads", 8, "KTV: heads"),
    ("depth", 10, "words of input channels reduced (PW, QZ, DIV, LN)"),
    ("pixel_outer", 1, "PW: pixels are the outer loop and the tiles the inner one"),
    ("joint", 1, "PW: R-MAC computes the upper half of each tile"),
    ("gated", 1, "MAT: follow the R-MAC task's progress pixel by pixel (inter-layer pipeline)"),
    ("relu", 1, "MAT: relu on what is read (Q)"),
    ("z_row", 10, "first row of the Z buffer (KTV, QZ, DIV)"),
    ("kernel", 3, "DW: 3 or 5"),
    ("stride", 2, "DW: 1 or 2; LOAD: 2"),
    ("h_in", 10, "rows of the input map"),
    ("w_in", 10, "columns of the input map"),
    ("w_out", 10, "columns of the output map"),
    ("step_y", 7, "pixels of a segment div w_out, at stride 1"),
    ("step_x", 7, "pixels of a segment mod w_out, at stride 1"),
    ("pad", 24, "LOAD: value outside the picture, one int8 for each of three channels"),
    ("v_cg", 12, "KTV: first channel group of V (src_cg is K's)"),
    ("act", Act, "second step: 0 none, 1 hardswish, 2 residual, 3 quotient; DIV: 3 gives the codes a fraction"),
    ("out_shift", 5, "second shift of post-processing"),
    ("res_src", Buffer, "buffer of the residual (X or Y)"),
    ("res_base", 14, "first row of the residual"),
    ("res_skew", 4, "log2 of the residual's bank skew"),
    ("res_zero", 8, "residual zero point, signed"),
    ("logits", 1, "keep the 16-bit intermediate (dst O)"),
    ("use_code", 1, "QZ: add the whole part of the divisor's code to the shift"),
    ("count", 13, "LN: elements of the vector"),
    ("wide", 1, "KTV, QZ: K^T V in two parts; QZ has the upper ones in the lower half of the slots, the lower ones in the other"),
    ("behind_load", 1, "gated: follow LOAD's progress instead"),
    ("offset", 24, "LOAD, STORE: beats from the address of pictures or results"),
    ("src_fold", 2, "DW: log2 of the sub-buffers of H over which each channel group of the source is spread, at most 2"),
    ("dst_fold", 2, "the same of the result, where it is written to H"),
    ("src_ring", 4, "0: the source is there whole; else log2 of its ring's rows: row numbers are taken modulo as many"),
    ("dst_ring", 4, "the same of the result, in both buffers; LOAD: it waits for room, too"),
    ("res_ring", 4, "the same of the residual"),
    ("res_rows", 14, "rows of one channel group of the residual"),
    ("dst2_cg_end", 12, "from this channel group on nothing is written a second time; a multiple of those of a result"),
    ("y_start", 10, "DW: row of px_start in the output map"),
    ("px_in", 16, "DW: input pixel under the centre tap of px_start"),
    ("early", 2, "units among those waited for (MAT, RMAC) whose last task must only have issued its last beat: bits of Unit"),
    ("past", 2, "units (MAT, RMAC) whose tasks before the last one must have ended: bits of Unit"),
)


#: Largest ``src_fold`` and ``dst_fold``.
MAX_FOLD = 2
#: Fields in two's complement.
SIGNED = ("res_zero",)


def _layout() -> data.StructLayout:
    members = {name: shape for name, shape, _ in FIELDS}
    used = data.StructLayout(members).size
    if used > SIZE * 8:
        raise InternalError(f"the descriptor needs {used} bits, and has {SIZE * 8}")
    return data.StructLayout({**members, "reserved": SIZE * 8 - used})


#: The descriptor in hardware: 512 bits, first field lowest.
DESCRIPTOR = _layout()


def pack(values: Mapping[str, object]) -> bytes:
    """The 64 bytes of a descriptor; fields not named are 0, ``magic`` is filled in.

    Raises
    ------
    InternalError
        An unknown field, or a value that does not fit its field.
    """
    word, position = 0, 0
    known = {name for name, _, _ in FIELDS}
    if unknown := set(values) - known:
        raise InternalError(f"no such descriptor field: {', '.join(sorted(unknown))}")
    for name, _, _ in FIELDS:
        width = DESCRIPTOR[name].width
        raw = MAGIC if name == "magic" else values.get(name, 0)
        value = int(raw.value if isinstance(raw, py_enum.Enum) else raw)
        low, high = (-(1 << (width - 1)), 1 << (width - 1)) if name in SIGNED else (0, 1 << width)
        if not low <= value < high:
            raise InternalError(f"descriptor field {name} is {value}, and has {width} bits")
        word |= (value & ((1 << width) - 1)) << position
        position += width
    return word.to_bytes(SIZE, "little")


def unpack(blob: bytes) -> dict[str, int]:
    """The raw (unsigned) value of every field, for listings and tests."""
    word, position, values = int.from_bytes(blob, "little"), 0, {}
    for name, _, _ in FIELDS:
        width = DESCRIPTOR[name].width
        values[name] = (word >> position) & ((1 << width) - 1)
        position += width
    return values
