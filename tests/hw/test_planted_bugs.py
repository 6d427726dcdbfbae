"""Faults that the comparison with the golden model must find: each breaks one thing in the hardware or in a packet."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib.wiring import In

from hw.compiler import compile as compiler
from hw.compiler.packets import RECORD, Packet, depthwise_packet, matrix_packet, param_packet
from hw.compiler.program import Program
from hw.config import TOY
from hw.control.descriptor import Act, Opcode, Unit
from hw.delay import delayed
from hw.engines.dw_lanes import DwLanes
from hw.engines.dw_sequencer import DwSequencer
from hw.engines.head_sequencer import HeadSequencer
from hw.engines.mac_block import FIELD_BITS, PRODUCT_BITS, MacBlock
from hw.engines.mat import MatEngine
from hw.engines.mat_sequencer import MatSequencer
from hw.engines.result_queue import ResultQueue
from hw.engines.rmac import RMacEngine
from hw.io.load_aligner import LoadAligner
from hw.memory.act_buffer import ActBuffer
from hw.memory.bank_rows import BankRows
from hw.memory.paired_ring import PairedRing
from hw.memory.placement import Placement
from hw.memory.rotate import Rotator
from hw.memory.row_ring import RowRing
from hw.memory.z_buffer import ZBuffer
from hw.units.divisor_buffer import DivisorBuffer
from hw.units.divisor_code import DivisorCode
from hw.units.joined_sums import JoinedSums
from hw.units.layer_norm import LayerNormCore
from hw.units.log2 import Log2
from hw.units.post_processor import PostProcessor
from hw.units.requantizer import Requantizer
from hw.units.rounding import _shifted as true_shifted
from hw.units.row_sum import RowSum
from hw.units.second_step import SecondStep
from hw.units.split_sum import SplitSum
from quant.contract import FRACTION_BITS, LOW_BITS, QUOTIENT_SHIFT, RECIPROCALS
from tests.support import core_check
from tests.support.networks import NetworkBuilder
from tests.support.tamper import Instead, constant, plus, tampered, with_field

#: A run that works takes a few hundred cycles.
LIMIT = 1200
BATCHES = TOY.with_(name="batches", z_rows=4)
true_matrix_packet, true_param_packet, true_depthwise_packet = matrix_packet, param_packet, depthwise_packet
true_arbitrate = PostProcessor._arbitrate


def product(net: NetworkBuilder) -> None:
    net.pw("pw", net.stem(5), 11)


def block(net: NetworkBuilder) -> None:
    stem = net.stem(6)
    net.pw("pw2", net.dw("dw", net.pw("pw1", stem, 9, "hardswish")), 6, residual=stem)


def folded(net: NetworkBuilder) -> None:
    """One channel group over all sub-buffers of H, and a last segment that is not whole."""
    net.dw("dw", net.stem(3))


def two_sets(net: NetworkBuilder) -> None:
    """More channel groups than R-MAC has at a time, behind which MAT follows."""
    net.pw("pw", net.dw("dw", net.stem(21)), 6)


def plain_block(net: NetworkBuilder) -> None:
    """A residual in a network without a hardswish."""
    stem = net.stem(6, act="none")
    net.pw("pw2", net.dw("dw", stem, act="none"), 6, residual=stem)


def stride(net: NetworkBuilder) -> None:
    net.dw("dw", net.stem(5), stride=2)


def strided_product(net: NetworkBuilder) -> None:
    """Results that begin in any bank, and are read again."""
    net.pw("pw", net.dw("dw", net.stem(5), stride=2), 6)


def attention(net: NetworkBuilder) -> None:
    net.attention("att", (net.pw("qkv", net.stem(4), 24),), 4, code_bits=4, z_bits=8)


def wide_attention(net: NetworkBuilder) -> None:
    """K^T V in two parts; some of it saturates, and so do sums of keys."""
    net.attention("att", (net.pw("qkv", net.stem(4), 24),), 4, code_bits=10, z_bits=15)


def two_groups(net: NetworkBuilder) -> None:
    """Heads of two words, whose K^T V is not wide."""
    net.attention("att", (net.pw("qkv", net.stem(4), 24),), 8, code_bits=4, z_bits=8)


def small_sums(net: NetworkBuilder) -> None:
    """Sums that lie in their lower parts above all."""
    wide_attention(net)
    arrays = net.layers[-1].arrays
    arrays["k_shift"] += 7
    arrays["div_min"] -= 7
    arrays["z_shift"] += 5
    arrays["o_shift"] -= 7 + 5


def fine_attention(net: NetworkBuilder) -> None:
    """Divisors with a fraction; those of the second head lie around its smallest exponent."""
    net.attention("att", (net.pw("qkv", net.stem(4), 24),), 4, code_bits=10, z_bits=8)
    arrays = net.layers[-1].arrays
    arrays["o_shift"][1] += 20 - arrays["div_min"][1]
    arrays["div_min"][1] = 20


def after_attention(net: NetworkBuilder) -> None:
    net.pw("proj", net.attention("att", (net.pw("qkv", net.stem(4), 24),), 4, code_bits=4), 6)


def both_widths(net: NetworkBuilder) -> None:
    """A layer of either kind, in turn on the same units."""
    qkv = net.pw("qkv", net.stem(4), 24)
    net.attention("coarse", (qkv,), 4, code_bits=4)
    net.attention("fine", (qkv,), 4, code_bits=10)


def pool(net: NetworkBuilder) -> None:
    net.pool("pool", net.stem(20))


def vector(net: NetworkBuilder) -> None:
    net.fc("fc2", net.layernorm("ln", net.fc("fc", net.pool("pool", net.stem(3)), 6)), 3, logits=True)


def over_old_values(net: NetworkBuilder) -> str:
    """A tensor of six pixels where one of twenty-four pixels lay: beyond its end are old values, not zeros."""
    net.input_shape = net.shapes["image"] = (3, 8, 12)
    return net.dw("dw2", net.dw("dw1", net.stem(24), stride=2, act="none"), act="none")


def pool_over_old_values(net: NetworkBuilder) -> None:
    net.pool("pool", over_old_values(net))


def attention_over_old_values(net: NetworkBuilder) -> None:
    net.attention("att", (over_old_values(net),), 4)


NETWORKS = (
    product,
    block,
    two_sets,
    stride,
    strided_product,
    folded,
    attention,
    wide_attention,
    small_sums,
    two_groups,
    fine_attention,
    after_attention,
    both_widths,
    plain_block,
    pool,
    vector,
    pool_over_old_values,
    attention_over_old_values,
)


def failure(grow: Callable[[NetworkBuilder], None], stall: float = 0.0) -> str | None:
    """How the run of a network fails; None where everything is as it must be."""
    net = NetworkBuilder(30, *((8, 10) if grow in (folded, strided_product) else (4, 6)))
    grow(net)
    try:
        lines, program, run = core_check.run_network(net, BATCHES, stall=stall, limit=int(LIMIT / (1 - stall)))
    except TimeoutError:
        return "no end"
    except AssertionError as error:
        return f"impossible result {error}"
    written = core_check.places_written(program, run)
    return lines[0] if lines else "written twice" if set(written.values()) != {1} else None


@pytest.mark.parametrize("grow", NETWORKS, ids=lambda grow: grow.__name__)
def test_nothing_is_found_where_nothing_is_wrong(grow):
    assert failure(grow) is None


def test_nothing_is_found_where_weights_only_come_late():
    assert failure(product, stall=0.8) is None


def swapped_channels(*args: Any) -> Packet:
    packet = true_matrix_packet(*args)
    payload = packet.payload.copy().reshape(*packet.payload.shape[:2], TOY.n, TOY.m)
    payload[:, :, [0, 1]] = payload[:, :, [1, 0]]
    return replace(packet, payload=payload.reshape(packet.payload.shape))


def multiplier_of_another_channel(*args: Any) -> Packet:
    """Each channel has the ``three`` of its neighbour, and everything else its own."""
    packet = true_param_packet(*args)
    payload = packet.payload.copy()
    records = payload[:, :, : TOY.m * RECORD.itemsize].reshape(-1, TOY.m, RECORD.itemsize).copy().view(RECORD)[..., 0]
    records["three"] = np.roll(records["three"], 1, axis=1)
    payload[:, :, : TOY.m * RECORD.itemsize] = records.view(np.uint8).reshape(*payload.shape[:2], -1)
    return replace(packet, payload=payload)


def shifted_parameters(*args: Any) -> Packet:
    packet = true_param_packet(*args)
    return replace(packet, payload=np.roll(packet.payload, 16, axis=2))


def padded_with(change: Callable[[np.ndarray], Any]) -> Callable:
    """Packets of depthwise weights with other padding, made from the true one."""
    return lambda config, weight, pad, fold: true_depthwise_packet(config, weight, change(pad), fold)


def padding_in_the_first_row(config: Any, weight: np.ndarray, pad: np.ndarray, fold: int) -> Packet:
    """Rows behind a set's first one have no padding."""
    packet = true_depthwise_packet(config, weight, pad, fold)
    payload = packet.payload.copy().reshape(packet.rows, config.wide, config.t, config.s)
    payload[np.arange(packet.rows) % -(-weight.shape[1] // (config.t - 1)) > 0, :, -1] = 0
    return replace(packet, payload=payload.reshape(packet.payload.shape))


def padding_from(find: Callable[[Any, int], Any]) -> Callable:
    """R-MAC's array finds the depthwise padding of a block elsewhere in the row."""
    true = RMacEngine._elaborate_array

    def elaborate(self: RMacEngine, m: Module, is_dw: Any, *args: Any) -> Any:
        row = self.weights.row
        false = Signal(row.shape(), name="false_row")
        m.d.comb += Value.cast(false).eq(Value.cast(row))
        with m.If(is_dw):
            for block in range(TOY.l):
                m.d.comb += Value.cast(false[block][TOY.t - 1]).eq(Value.cast(find(row, block)))
        return true(Instead(self, weights=Instead(self.weights, row=false)), m, is_dw, *args)

    return elaborate


def array_with(engine: type, **fields: int) -> Callable:
    """The engine's array as it is when some field of the task is not looked at."""
    true = engine._elaborate_array

    def elaborate(self: Any, m: Any, *args: Any) -> Any:
        tasks = [
            Instead(arg, **{name: Const(value, 24) for name, value in fields.items()}) if hasattr(arg, "opcode") else arg
            for arg in args
        ]
        return true(self, m, *tasks)

    return elaborate


def whole_parts_lost(codes: Any) -> Value:
    return Cat(Cat(codes[slot][:FRACTION_BITS], Const(0, 4)) for slot in range(TOY.l))


class SwappedParts(ZBuffer):
    """The parts of Ks leave in each other's place."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = ZBuffer(self.config)
        swap = {"ksum": "ksum_low", "ksum_low": "ksum"}
        for (name,), member, port in self.signature.flatten(self):
            within = getattr(inner, swap.get(name, name))
            source, target = (port, within) if member.flow == In else (within, port)
            m.d.comb += Value.cast(target).eq(Value.cast(source))
        return m


def swapped_halves() -> type:
    """Where sums are joined by slots, the lower parts count as the upper ones."""

    def swapped(acc: Any) -> Value:
        return Cat(Value.cast(acc[(slot + TOY.l // 2) % TOY.l]) for slot in range(TOY.l))

    class Swapped(JoinedSums):
        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.inner = inner = JoinedSums(self.config)
            m.d.comb += [
                Value.cast(inner.mat).eq(Mux(self.by_slot, swapped(self.mat), Value.cast(self.mat))),
                inner.rmac.eq(self.rmac),
                inner.from_rmac.eq(self.from_rmac),
                inner.apart.eq(self.apart),
                inner.by_slot.eq(self.by_slot),
                Value.cast(self.sums).eq(Value.cast(inner.sums)),
            ]
            return m

    return Swapped


def rewired(unit: type, name: str, value: Callable[[Module, Any], Any]) -> type:
    """The unit with something else at one of its inputs: made of all of them."""

    class Rewired(unit):
        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.inner = inner = unit(self.config)
            for (port,), member, outside in self.signature.flatten(self):
                within = getattr(inner, port)
                source, target = (outside, within) if member.flow == In else (within, outside)
                m.d.comb += Value.cast(target).eq(Value.cast(value(m, self) if port == name else source))
            return m

    return Rewired


def as_soon_as_there_is_one(m: Module, lanes: Any) -> Value:
    """Lanes are prepared for a task whether another one needs them or not."""
    task = Value.cast(lanes.task)
    seen = Signal.like(task)
    m.d.sync += seen.eq(task)
    return lanes.start | ((lanes.task.opcode == Opcode.DW) & (task != seen))


def upper_half_written(self: Any, m: Any) -> Value:
    """Results joined by slots do not say so."""
    true_arbitrate(self, m)
    return Const(0, 1)


def transposed(rows: Any) -> Value:
    return Cat(Value.cast(rows[j][i]) for i in range(TOY.m) for j in range(TOY.m))


class WrappingLog2(Log2):
    """Codes with a fraction that fall below 0 wrap around, where the smallest exponent is 16 or more."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.true = true = Log2()
        # Sixteen exponents lower the same number has the code that it wraps around to, and all that lie above have the largest.
        m.submodules.lower = lower = Log2()
        m.d.comb += [
            true.d.eq(self.d),
            true.fine.eq(self.fine),
            true.div_min.eq(self.div_min),
            lower.d.eq(self.d),
            lower.fine.eq(1),
            lower.div_min.eq(self.div_min - 16),
        ]
        wraps = delayed(m, self.d.any() & (self.div_min >= 16), self.latency, "wraps")
        m.d.comb += self.code.eq(Mux(wraps & ~lower.code.all(), lower.code, true.code))
        return m


def without_waiting(opcode: Opcode) -> Callable:
    """A program whose tasks of a kind wait for no other unit."""
    true = compiler.compile_network

    def compiled(*args: Any) -> Program:
        program = true(*args)
        return replace(
            program, tasks=tuple(replace(task, wait=Unit(0)) if task.opcode is opcode else task for task in program.tasks)
        )

    return compiled


def rounded_down(magnitude: Value, negative: Value) -> Value:
    """Half of the number, towards minus infinity."""
    return Cat(magnitude ^ negative.replicate(len(magnitude)), negative).as_signed() >> 1


def shifted_without_limit(*args: Any) -> tuple[Value, Value]:
    """What does not fit is cut off."""
    shifted, _ = true_shifted(*args)
    return shifted, Const(0, 1)


ONES = constant(-1)
#: What is replaced, by what, and the network that must show it (with random pauses in the stream, where they are needed).
BUGS: dict[str, tuple[str, Any, Callable[[NetworkBuilder], None], float]] = {
    "rounding towards minus infinity": ("hw.units.rounding._rounded", rounded_down, product, 0),
    "no saturation to 16 bits": ("hw.units.rounding._shifted", shifted_without_limit, product, 0),
    "no saturation to 8 bits": ("hw.units.second_step.saturated", lambda value, bits: value[:bits].as_signed(), product, 0),
    "zero point ignored": ("hw.units.post_processor.SecondStep", tampered(SecondStep, zero=constant(0)), product, 0),
    "residual's zero point ignored": ("hw.units.post_processor.SecondStep", tampered(SecondStep, centre=constant(0)), block, 0),
    "three of hardswish off by one": ("hw.units.post_processor.SecondStep", tampered(SecondStep, three=plus(1)), block, 0),
    "bias ignored": ("hw.units.post_processor.Requantizer", tampered(Requantizer, bias=constant(0)), product, 0),
    "divisor's code ignored": ("hw.units.post_processor.Requantizer", tampered(Requantizer, code=constant(0)), attention, 0),
    "logarithm off by one": ("hw.units.post_processor.Log2", tampered(Log2, code=plus(1)), attention, 0),
    "fraction off by one": ("hw.units.post_processor.Log2", tampered(Log2, code=plus(1)), fine_attention, 0),
    "fraction cut off": ("hw.units.post_processor.Log2", tampered(Log2, code=lambda code: code & 0x3C0), fine_attention, 0),
    "every code with a fraction": ("hw.units.post_processor.Log2", tampered(Log2, fine=ONES), both_widths, 0),
    "no code with a fraction": ("hw.units.post_processor.Log2", tampered(Log2, fine=constant(0)), both_widths, 0),
    "codes below the smallest not held": ("hw.units.post_processor.Log2", WrappingLog2, fine_attention, 0),
    "codes kept without their whole part": (
        "hw.units.post_processor.DivisorBuffer",
        tampered(DivisorBuffer, read_codes=whole_parts_lost),
        fine_attention,
        0,
    ),
    "whole code not shifted": ("hw.units.post_processor.DivisorCode", tampered(DivisorCode, fine=constant(0)), fine_attention, 0),
    "rounded code shifted": ("hw.units.post_processor.DivisorCode", tampered(DivisorCode, fine=ONES), attention, 0),
    "divisors of what is no quotient": (
        "hw.units.post_processor.DivisorCode",
        tampered(DivisorCode, used=ONES),
        after_attention,
        0,
    ),
    "reciprocal of a neighbour": ("hw.units.divisor_code.RECIPROCALS", RECIPROCALS[1:] + RECIPROCALS[:1], fine_attention, 0),
    "reciprocal off by one": (
        "hw.units.post_processor.DivisorCode",
        tampered(DivisorCode, reciprocal=plus(1)),
        fine_attention,
        0,
    ),
    "quotient not multiplied": (
        "hw.units.post_processor.SecondStep",
        tampered(SecondStep, act=lambda act: Mux(act == Act.QUOTIENT, Act.NONE, act)),
        fine_attention,
        0,
    ),
    "quotient shifted too far": ("hw.compiler.lower.attention.QUOTIENT_SHIFT", QUOTIENT_SHIFT + 1, fine_attention, 0),
    "residual multiplier off by one": (
        "hw.units.post_processor.SecondStep",
        tampered(SecondStep, three=plus(1)),
        plain_block,
        0,
    ),
    "residual multiplier of another channel": (
        "hw.compiler.lower.product.param_packet",
        multiplier_of_another_channel,
        plain_block,
        0,
    ),
    "second shift of another task": (
        "hw.units.post_processor.SecondStep",
        tampered(SecondStep, out_shift=plus(1)),
        plain_block,
        0,
    ),
    "residual not multiplied": ("hw.units.post_processor.SecondStep", tampered(SecondStep, three=constant(1)), plain_block, 0),
    "one code for all pixels": (
        "hw.units.post_processor.DivisorBuffer",
        tampered(DivisorBuffer, read_split=constant(0)),
        attention,
        0,
    ),
    "codes of the head before": (
        "hw.units.post_processor.DivisorBuffer",
        tampered(DivisorBuffer, write_row=constant(0)),
        attention,
        0,
    ),
    "lower part of Ks dropped": ("hw.core.ZBuffer", tampered(ZBuffer, ksum_low=constant(0)), small_sums, 0),
    "upper part of Ks dropped": ("hw.core.ZBuffer", tampered(ZBuffer, ksum=constant(0)), attention, 0),
    "parts of Ks swapped": ("hw.core.ZBuffer", SwappedParts, attention, 0),
    "lower part of K^T V dropped": ("hw.core.ZBuffer", tampered(ZBuffer, z_low=constant(0)), small_sums, 0),
    "lower part of K^T V transposed": ("hw.core.ZBuffer", tampered(ZBuffer, rows_low=transposed), small_sums, 0),
    "upper part of K^T V everywhere": (
        "hw.engines.mat.MatEngine._elaborate_array",
        array_with(MatEngine, wide=0),
        wide_attention,
        0,
    ),
    "both parts of K^T V everywhere": (
        "hw.engines.mat.MatEngine._elaborate_array",
        array_with(MatEngine, wide=1),
        two_groups,
        0,
    ),
    "sums over halves swapped": ("hw.units.post_processor.JoinedSums", swapped_halves(), wide_attention, 0),
    "sums over slots not joined": ("hw.units.post_processor.JoinedSums", tampered(JoinedSums, apart=ONES), wide_attention, 0),
    "sums over lanes joined instead": (
        "hw.units.post_processor.JoinedSums",
        tampered(JoinedSums, by_slot=constant(0)),
        wide_attention,
        0,
    ),
    "divisors not joined": ("hw.units.post_processor.JoinedSums", tampered(JoinedSums, apart=ONES), attention, 0),
    "sums of the other engine": (
        "hw.units.post_processor.JoinedSums",
        tampered(JoinedSums, from_rmac=constant(0)),
        product,
        0,
    ),
    "parts joined with another weight": ("hw.units.joined_sums.LOW_BITS", LOW_BITS + 1, attention, 0),
    "upper half of the slots written": (
        "hw.units.post_processor.PostProcessor._arbitrate",
        upper_half_written,
        wide_attention,
        0,
    ),
    "channel groups counted by all slots": (
        "hw.engines.mat.MatSequencer",
        tampered(MatSequencer, task=with_field("wide", constant(0))),
        wide_attention,
        0,
    ),
    "wide sums in sixteen bits": ("hw.units.split_sum.SUM_BITS", 16, wide_attention, 0),
    "wide sums in fourteen bits": ("hw.units.split_sum.SUM_BITS", 14, wide_attention, 0),
    "sums kept in eight bits": ("hw.units.post_processor.SplitSum", tampered(SplitSum, wide=constant(0)), attention, 0),
    "K^T V always wide": ("hw.units.post_processor.SplitSum", tampered(SplitSum, wide=ONES), attention, 0),
    "lower part kept wrong": ("hw.units.post_processor.SplitSum", tampered(SplitSum, low=plus(1)), small_sums, 0),
    "Z transposed": ("hw.core.ZBuffer", tampered(ZBuffer, rows=transposed), attention, 0),
    "relu of Q missing": ("hw.engines.mat.MatEngine._elaborate_array", array_with(MatEngine, relu=0), attention, 0),
    "relu of K's sum missing": ("hw.engines.rmac.RowSum", tampered(RowSum, relu=constant(0)), attention, 0),
    "relu in average pooling": ("hw.engines.rmac.RowSum", tampered(RowSum, relu=ONES), pool, 0),
    "sum over pixels that do not exist": ("hw.engines.rmac.RowSum", tampered(RowSum, lanes=ONES), pool_over_old_values, 0),
    "product over pixels that do not exist": (
        "hw.engines.rmac.HeadSequencer",
        tampered(HeadSequencer, beat=with_field("lanes", ONES)),
        attention_over_old_values,
        0,
    ),
    "heads not counted on": (
        "hw.engines.rmac.HeadSequencer",
        tampered(HeadSequencer, task=with_field("src_step", constant(0))),
        attention,
        0,
    ),
    "pooled group read from group 0's place": (
        "hw.engines.rmac.HeadSequencer",
        tampered(HeadSequencer, beat=with_field("k_cg", lambda cg: cg & 3)),
        pool,
        0,
    ),
    "zeros around the map": ("hw.compiler.lower.depthwise.depthwise_packet", padded_with(np.zeros_like), stride, 0),
    "padding of channel 0 around the map": (
        "hw.compiler.lower.depthwise.depthwise_packet",
        padded_with(lambda pad: np.full_like(pad, pad[0])),
        stride,
        0,
    ),
    "padding of the neighbouring channel": (
        "hw.compiler.lower.depthwise.depthwise_packet",
        padded_with(lambda pad: np.roll(pad, 1)),
        stride,
        0,
    ),
    "padding in a set's first row only": ("hw.compiler.lower.depthwise.depthwise_packet", padding_in_the_first_row, stride, 0),
    "padding from the first lane": (
        "hw.engines.rmac.RMacEngine._elaborate_array",
        padding_from(lambda row, block: row[block][0]),
        stride,
        0,
    ),
    "padding from the lane before": (
        "hw.engines.rmac.RMacEngine._elaborate_array",
        padding_from(lambda row, block: row[block][TOY.t - 2]),
        stride,
        0,
    ),
    "padding of the first block's channels": (
        "hw.engines.rmac.RMacEngine._elaborate_array",
        padding_from(lambda row, block: row[0][TOY.t - 1]),
        stride,
        0,
    ),
    "stride with the wrong phase": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("px", plus(1))),
        stride,
        0,
    ),
    "stride ignored": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, task=with_field("stride", constant(1)), coming=with_field("stride", constant(1))),
        stride,
        0,
    ),
    "nothing is outside the map": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("outside", constant(0))),
        block,
        0,
    ),
    "a row of the map that does not end": (
        "hw.engines.dw_sequencer.DwLanes",
        tampered(DwLanes, row_end=constant(0)),
        pool_over_old_values,
        0,
    ),
    "always the first segment": ("hw.engines.dw_sequencer.DwLanes", tampered(DwLanes, move=constant(0)), block, 0),
    "lanes prepared while the last task needs them": (
        "hw.engines.dw_sequencer.DwLanes",
        rewired(DwLanes, "start", as_soon_as_there_is_one),
        pool_over_old_values,
        0,
    ),
    "lanes prepared for the task that runs": (
        "hw.engines.rmac.DwSequencer",
        rewired(DwSequencer, "coming", lambda m, sequencer: sequencer.task),
        block,
        0,
    ),
    "lanes not waited for": ("hw.engines.dw_sequencer.DwLanes", tampered(DwLanes, ready=ONES), pool_over_old_values, 0),
    "outside as in the first chunk": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("outside", lambda outside: Cat(outside[0] for _ in range(TOY.wide)))),
        folded,
        0,
    ),
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
    "weights for the first chunk only": (
        "hw.compiler.lower.depthwise.depthwise_packet",
        lambda config, weight, pad, fold: true_depthwise_packet(config, weight, pad),
        folded,
        0,
    ),
    "a segment of folded chunks too short": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, task=with_field("step_x", plus(1)), coming=with_field("step_x", plus(1))),
        folded,
        0,
    ),
    "chunks beyond the last pixel": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("mask", ONES)),
        folded,
        0,
    ),
    "taps of the neighbouring lane": (
        "hw.engines.rmac.DwSequencer",
        tampered(DwSequencer, beat=with_field("lane", plus(1))),
        block,
        0,
    ),
    "results beyond the last pixel": (
        "hw.engines.mat.MatSequencer",
        tampered(MatSequencer, beat=with_field("mask", ONES)),
        product,
        0,
    ),
    "channel groups under way not waited for": (
        "hw.engines.mat.MatSequencer",
        tampered(MatSequencer, begun_groups=ONES),
        two_sets,
        0,
    ),
    "progress not waited for": ("hw.engines.mat.MatSequencer", tampered(MatSequencer, progress=ONES), block, 0),
    "weights not waited for": ("hw.engines.mat.MatSequencer", tampered(MatSequencer, weights=ONES), product, 0.95),
    "weights released one row late": (
        "hw.engines.mat.MatSequencer",
        tampered(MatSequencer, free=lambda free: Value.cast(free) - (Value.cast(free) != 0)),
        product,
        0,
    ),
    "LOAD not waited for": ("hw.core.MatEngine", tampered(MatEngine, load_progress=ONES), product, 0),
    "R-MAC waited for instead of LOAD": ("hw.core.MatEngine", tampered(MatEngine, load_progress=constant(0)), product, 0),
    "statistics not waited for": ("hw.engines.mat.MatSequencer", tampered(MatSequencer, ln_done=ONES), vector, 0),
    "statistics of the vector before": ("hw.engines.mat.LayerNormCore", tampered(LayerNormCore, last=constant(0)), vector, 0),
    "sums of the first word only": ("hw.engines.mat.LayerNormCore", tampered(LayerNormCore, sum_first=ONES), vector, 0),
    "elements of the vector miscounted": ("hw.engines.mat.LayerNormCore", tampered(LayerNormCore, count=plus(1)), vector, 0),
    "sums not begun anew": ("hw.engines.mat.MacBlock", tampered(MacBlock, first=constant(0)), product, 0),
    "lower lane's sign not borrowed": ("hw.engines.mac_block.borrow", lambda packed: Const(0), vector, 0),
    "lower tap's sign not borrowed": ("hw.engines.mac_block.borrow", lambda packed: Const(0), stride, 0),
    "taps summed as inputs": ("hw.engines.rmac.MacBlock", tampered(MacBlock, own_beat=constant(0)), block, 0),
    "inputs summed as taps": ("hw.engines.rmac.MacBlock", tampered(MacBlock, own_beat=constant(1)), product, 0),
    "lower lane without a sign": ("hw.engines.mac_block.lower_field", lambda packed: packed[:FIELD_BITS], product, 0),
    "lanes packed too closely": ("hw.engines.mac_block.FIELD_BITS", PRODUCT_BITS - 2, product, 0),
    "ring read one row too far": ("hw.core.RowRing", tampered(RowRing, offset=plus(1)), product, 0),
    "parameters of the other engine": ("hw.core.PairedRing", tampered(PairedRing, ring=lambda ring: ~ring), block, 0),
    "MAT's parameters for both engines": ("hw.core.PairedRing", tampered(PairedRing, ring=constant(0)), block, 0),
    "parameters of both engines in one ring": (
        "hw.core.PairedRing",
        tampered(PairedRing, i__payload=with_field("ring", constant(0))),
        block,
        0,
    ),
    "parameters read one row too far": ("hw.core.PairedRing", tampered(PairedRing, offset=plus(1)), product, 0),
    "ring's rows overwritten": ("hw.core.RowRing", tampered(RowRing, free=plus(1)), product, 0),
    "words not rotated": ("hw.memory.act_buffer.Rotator", tampered(Rotator, amount=constant(0)), product, 0),
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
    "a result not counted as written": ("hw.engines.mat.ResultQueue", tampered(ResultQueue, retired=constant(0)), product, 0),
    "a result given to nobody": ("hw.engines.rmac.ResultQueue", tampered(ResultQueue, push=constant(0)), pool, 0),
    "two output channels swapped in the weights": ("hw.compiler.lower.product.matrix_packet", swapped_channels, product, 0),
    "parameters of the neighbouring channel": ("hw.compiler.lower.product.param_packet", shifted_parameters, product, 0),
    "divisors that do not wait for Ksum": ("tests.support.core_check.compile_network", without_waiting(Opcode.DIV), attention, 0),
    "a convolution that does not wait for its input": (
        "tests.support.core_check.compile_network",
        without_waiting(Opcode.DW),
        block,
        0,
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    where, false, grow, stall = BUGS[bug]
    monkeypatch.setattr(where, false)
    assert failure(grow, stall) is not None


def test_faults_are_those_of_the_ports_only():
    """A shell without faults changes nothing: what is found comes from the fault."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hw.engines.mat.MatSequencer", tampered(MatSequencer))
        patch.setattr("hw.units.post_processor.SecondStep", tampered(SecondStep))
        patch.setattr("hw.core.RowRing", tampered(RowRing))
        patch.setattr("hw.core.PairedRing", tampered(PairedRing))
        assert failure(product) is None
