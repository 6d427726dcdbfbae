"""What the units say to each other: the structs and signatures shared by several modules."""

from amaranth import Mux, signed
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Opcode
from quant.contract import ACC_BITS, ACT_BITS, MULT_BITS, PRE_BITS, SHIFT_MAX, THREE_BITS, ZERO_BITS

#: Bits of a pixel number, of a channel-group number, of a buffer row, of log2 of a block split.
PIXEL_BITS = DESCRIPTOR["px_end"].width
GROUP_BITS = DESCRIPTOR["dst_cg"].width
ROW_BITS = DESCRIPTOR["dst_base"].width
SPLIT_BITS = DESCRIPTOR["lp"].width
#: Bits of log2 of the sub-buffers that share a channel group's pixels.
FOLD_BITS = DESCRIPTOR["dst_fold"].width
#: Bits of log2 of a ring's rows.
RING_BITS = DESCRIPTOR["dst_ring"].width


def words(config: AcceleratorConfig, element: object = signed(ACT_BITS)) -> data.ArrayLayout:
    """``l`` words of ``m`` channels: what a buffer reads or writes in one cycle (``[l][m]``)."""
    return data.ArrayLayout(data.ArrayLayout(element, config.m), config.l)


#: Post-processing parameters of one channel (integer contract, section 3).
PARAM = data.StructLayout(
    {
        "bias": signed(ACC_BITS),
        "mult": MULT_BITS,
        "shift": ceil_log2(SHIFT_MAX + 1),
        "three": THREE_BITS,
        "zero": signed(ZERO_BITS),
    }
)


class ReadSignature(wiring.Signature):
    """A pixel-addressed read of an activation buffer; answers a fixed number of cycles later, in order.

    Members
    -------
    valid : Out(1)
        A request. There is no back-pressure: a port has one user at a time.
    px : Out(signed(PIXEL_BITS + 2))
        Pixel of lane 0; lane ``i`` answers with pixel ``px + i``. What lies outside the tensor reads as some other word, which
        the reader masks.
    cg, base, rows, skew : Out
        Channel group, first row of the tensor, rows of a channel group, log2 of the bank skew.
    spread : Out(SPLIT_BITS)
        log2 of the channel slots, 0 for all lanes in one channel group. Otherwise lane ``i`` answers with pixel ``px + i mod
        lp`` of channel group
        ``cg + i div lp``, ``lp = l >> spread``, and the tensor's skew must be ``lp``: what one write wrote, one read reads.
    ring : Out(RING_BITS)
        0, or log2 of the rows of the ring that the tensor is in: row ``r`` of a channel group is its row ``r mod 2^ring``.
    data : In(words)
        ``l`` words, ``latency`` cycles after ``valid``.
    """

    def __init__(self, config: AcceleratorConfig, element: object = signed(ACT_BITS)):
        super().__init__(
            {
                "valid": Out(1),
                "px": Out(signed(PIXEL_BITS + 2)),
                "cg": Out(GROUP_BITS),
                "base": Out(ROW_BITS),
                "rows": Out(ROW_BITS),
                "skew": Out(SPLIT_BITS),
                "spread": Out(SPLIT_BITS),
                "ring": Out(RING_BITS),
                "data": In(words(config, element)),
            }
        )


def write_layout(config: AcceleratorConfig, element: object = signed(ACT_BITS)) -> data.StructLayout:
    """One write of up to ``l`` words.

    Slot ``i`` is pixel ``px + i % lp``, channel group ``cg + i // lp``, where ``lp = 2^split`` is also the bank skew. ``fold``
    counts only in a buffer of several sub-buffers, ``ring`` is as in :class:`ReadSignature` (docs/architecture.md, section 2).
    """
    return data.StructLayout(
        {
            "mask": config.l,
            "px": PIXEL_BITS,
            "cg": GROUP_BITS,
            "split": SPLIT_BITS,
            "base": ROW_BITS,
            "rows": ROW_BITS,
            "fold": FOLD_BITS,
            "ring": RING_BITS,
            "words": words(config, element),
        }
    )


class WriteSignature(wiring.Signature):
    """A write into an activation buffer, one a cycle, no back-pressure.

    Members
    -------
    valid : Out(1)
        The write happens.
    payload : Out(write_layout)
        See :func:`write_layout`.
    """

    def __init__(self, config: AcceleratorConfig, element: object = signed(ACT_BITS)):
        super().__init__({"valid": Out(1), "payload": Out(write_layout(config, element))})


#: Words of a parameter row for LN, whose results are a word each, in slot 0: one in each half of the banks.
LN_WORDS = 2


def entry_bits(config: AcceleratorConfig) -> int:
    """Bits of a result's ``entry``: any row of R-MAC's parameter ring, and any half of a row of MAT's."""
    return ceil_log2(max(config.rmac_param_rows, config.mat_param_rows * LN_WORDS))


def param_row(opcode: Value, entry: Value) -> Value:
    """The row of the parameter ring that an ``entry`` lies in."""
    return Mux(opcode == Opcode.LN, entry >> exact_log2(LN_WORDS), entry)


def result_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What an engine hands to post-processing: ``l`` words of ``m`` accumulators and where they belong.

    ``mask`` marks the slots that hold a result (pixels beyond the end are already off; channel groups beyond ``dst_cg_end`` are
    not).
    ``entry`` chooses the parameters, counted from the task's first: a row of the engine's parameter ring, each slot's word in its
    bank; or, for LN, a word for slot 0, :data:`LN_WORDS` to a row. ``row_sum`` marks a row sum of KTV (goes to Ksum, not Z).
    ``seg_last`` marks the last result of a pixel segment and ``progress`` counts the pixels that are complete once it is written.
    Before it ``progress`` is the same where each channel group's words of the segment come at once, else 0.
    ``turn`` tells which of the engine's last two tasks it belongs to.
    """
    return data.StructLayout(
        {
            "acc": words(config, signed(ACC_BITS)),
            "mask": config.l,
            "px": PIXEL_BITS,
            "cg": GROUP_BITS,
            "entry": entry_bits(config),
            "row_sum": 1,
            "seg_last": 1,
            "progress": PIXEL_BITS,
            "turn": 1,
        }
    )


#: What post-processing keeps of a task while it runs: descriptor fields by the same names.
POST_FIELDS = (
    "opcode",
    "tag",
    "dst",
    "dst_base",
    "dst_rows",
    "dst_cg_end",
    "dst_fold",
    "dst_ring",
    "dst2_on",
    "dst2",
    "dst2_base",
    "dst2_cg_end",
    "lp",
    "z_row",
    "act",
    "out_shift",
    "logits",
    "res_src",
    "res_base",
    "res_skew",
    "res_ring",
    "res_rows",
    "res_zero",
    "use_code",
    "wide",
)
POST_TASK = data.StructLayout(
    {name: DESCRIPTOR[name].shape for name in POST_FIELDS}
)

#: Width of the intermediate ``t`` that logits keep.
LOGIT_BITS = PRE_BITS
