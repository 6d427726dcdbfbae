"""Rings, buffers and the way of words into them, tampered with."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Value

from hw.compiler.packets import Packet, param_packet
from hw.config import AcceleratorConfig
from hw.control.descriptor import Buffer
from hw.io.load_aligner import LoadAligner
from hw.memory.act_buffer import ActBuffer
from hw.memory.bank_buffer import BankBuffer
from hw.memory.bank_rows import BankRows
from hw.memory.line_rows import LineRows
from hw.memory.paired_ring import PairedRing
from hw.memory.placement import Placement
from hw.memory.reader import Reader
from hw.memory.rotate import Rotator
from hw.memory.row_ring import RowRing
from hw.memory.shared_reads import SharedReads
from tests.hw.planted_bugs.networks import attention, block, folded, long_vector, product, strided_product
from tests.hw.planted_bugs.planting import ONES, Bug, failure_with
from tests.support.tamper import constant, plus, tampered, with_field

true_param_packet = param_packet


class Hasty(BankBuffer):
    """Is said to give its words a cycle before it does."""

    read_latency = BankBuffer.read_latency - 1


def in_the_first_bank(config: AcceleratorConfig, engine: str, split: int, *args: Any) -> Packet:
    """Parameters of the first slot, and zeros for the others."""
    packet = true_param_packet(config, engine, split, *args)
    payload = np.zeros((packet.rows, config.l, packet.payload.shape[2]), np.uint8)
    payload[:, :1] = packet.payload
    return Packet(packet.kind, 0, payload)


BUGS: dict[str, Bug] = {
    "folded channel groups written to one sub-buffer": (
        "hw.core.Placement",
        tampered(Placement, write=with_field("fold", constant(0))),
        folded,
        0,
    ),
    "folded channel groups read from one sub-buffer": (
        "hw.core.ActBuffer",
        tampered(ActBuffer, read__fold=constant(0)),
        folded,
        0,
    ),
    "twice folded channel groups read as once folded": (
        "hw.core.ActBuffer",
        tampered(ActBuffer, read__fold=lambda fold: fold & 1),
        folded,
        0,
    ),
    "a head's groups not gathered": ("hw.core.ActBuffer", tampered(ActBuffer, read__gather=constant(0)), attention, 0),
    "a depthwise layer's groups gathered": ("hw.core.ActBuffer", tampered(ActBuffer, read__gather=ONES), block, 0),
    "ring read one row too far": ("hw.core.RowRing", tampered(RowRing, offset=plus(1)), product, 0),
    "parameters of the other engine": ("hw.core.PairedRing", tampered(PairedRing, ring=lambda ring: ~ring), block, 0),
    "MAT's parameters for both engines": ("hw.core.PairedRing", tampered(PairedRing, ring=constant(0)), block, 0),
    "parameters of both engines in one ring": (
        "hw.core.PairedRing",
        tampered(PairedRing, i__payload=with_field("ring", constant(0))),
        block,
        0,
    ),
    "parameters of LayerNorm's other word": ("hw.units.post_processor.LN_WORDS", 4, long_vector, 0),
    "a row for each of LayerNorm's words": ("hw.units.post_processor.param_row", lambda opcode, entry: entry, long_vector, 0),
    "shared parameters in one bank": ("hw.compiler.lower.depthwise.param_packet", in_the_first_bank, block, 0),
    "parameters read one row too far": ("hw.core.PairedRing", tampered(PairedRing, offset=plus(1)), product, 0),
    "ring's rows overwritten": ("hw.core.RowRing", tampered(RowRing, free=plus(1)), product, 0),
    "words not rotated": ("hw.memory.reader.Rotator", tampered(Rotator, amount=constant(0)), strided_product, 0),
    "H's words not rotated": ("hw.memory.act_buffer.Rotator", tampered(Rotator, amount=constant(0)), block, 0),
    "rotated as if all tensors were as skewed": ("hw.core.Reader", tampered(Reader, read__skew=constant(0)), strided_product, 0),
    "channel groups read from one another's rows": (
        "hw.memory.reader.LineRows",
        tampered(LineRows, rows=constant(0)),
        product,
        0,
    ),
    "MAT's words from X alone": ("hw.core.SharedReads", tampered(SharedReads, mat_src=constant(Buffer.X.value)), block, 0),
    "MAT's words for the residual": ("hw.core.SharedReads", tampered(SharedReads, residual_valid=constant(0)), block, 0),
    "the residual from the other buffer": (
        "hw.core.SharedReads",
        tampered(SharedReads, residual_src=lambda source: Value.cast(source) ^ Buffer.X.value ^ Buffer.Y.value),
        block,
        0,
    ),
    "words of the buffer that is read a cycle later": ("hw.memory.shared_reads.BankBuffer", Hasty, block, 0),
    "words written unrotated": ("hw.memory.placement.Rotator", tampered(Rotator, amount=constant(0)), strided_product, 0),
    "channel groups written over each other": (
        "hw.memory.placement.BankRows",
        tampered(BankRows, rows=constant(0)),
        product,
        0,
    ),
    "LOAD's channel groups written over each other": (
        "hw.io.load_aligner.BankRows",
        tampered(BankRows, rows=constant(0)),
        product,
        0,
    ),
    "LOAD's words in place of results": ("hw.core.LoadAligner", tampered(LoadAligner, valid=ONES), block, 0),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    assert failure_with(monkeypatch, BUGS[bug]) is not None
