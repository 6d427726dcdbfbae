"""Sums of attention in two parts, tampered with: how they are split, kept in Z and Ks, and joined again."""

from typing import Any

import pytest
from amaranth import Cat, Const, Module, Mux
from amaranth.hdl import Value
from amaranth.lib.wiring import In

from hw.config import TOY
from hw.memory.z_buffer import ZBuffer
from hw.units.joined_sums import JoinedSums
from hw.units.post_processor import PostProcessor
from hw.units.split_sum import SplitSum
from quant.contract import LOW_BITS
from tests.hw.planted_bugs.networks import attention, product, small_sums, wide_attention
from tests.hw.planted_bugs.planting import BATCHES, ONES, Bug, failure, failure_with
from tests.support.tamper import constant, plus, tampered

true_arbitrate = PostProcessor._arbitrate


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


def upper_half_written(self: Any, m: Any) -> Value:
    """Results joined by slots do not say so."""
    true_arbitrate(self, m)
    return Const(0, 1)


def transposed(rows: Any) -> Value:
    return Cat(Value.cast(rows[j][i]) for i in range(TOY.m) for j in range(TOY.m))


BUGS: dict[str, Bug] = {
    "lower part of Ks dropped": ("hw.core.ZBuffer", tampered(ZBuffer, ksum_low=constant(0)), small_sums, 0),
    "upper part of Ks dropped": ("hw.core.ZBuffer", tampered(ZBuffer, ksum=constant(0)), attention, 0),
    "parts of Ks swapped": ("hw.core.ZBuffer", SwappedParts, attention, 0),
    "lower part of K^T V dropped": ("hw.core.ZBuffer", tampered(ZBuffer, z_low=constant(0)), small_sums, 0),
    "lower part of K^T V transposed": ("hw.core.ZBuffer", tampered(ZBuffer, rows_low=transposed), small_sums, 0),
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
    "wide sums in sixteen bits": ("hw.units.split_sum.SUM_BITS", 16, wide_attention, 0),
    "wide sums in fourteen bits": ("hw.units.split_sum.SUM_BITS", 14, wide_attention, 0),
    "sums kept in eight bits": ("hw.units.post_processor.SplitSum", tampered(SplitSum, wide=constant(0)), attention, 0),
    "K^T V always wide": ("hw.units.post_processor.SplitSum", tampered(SplitSum, wide=ONES), attention, 0),
    "lower part kept wrong": ("hw.units.post_processor.SplitSum", tampered(SplitSum, low=plus(1)), small_sums, 0),
    "Z transposed": ("hw.core.ZBuffer", tampered(ZBuffer, rows=transposed), attention, 0),
}


#: With more blocks than channels K^T V is made in parts: two, which are joined, or more, of which R-MAC adds some first.
BUGS_OF_LONG_ARRAYS = {
    8: ("hw.units.post_processor.JoinedSums", tampered(JoinedSums, by_slot=constant(0))),
    16: ("hw.engines.rmac.RMacEngine._parts", staticmethod(lambda config: 2)),
}


@pytest.mark.parametrize("blocks", BUGS_OF_LONG_ARRAYS)
def test_sums_over_half_of_the_pixels_are_found(monkeypatch: pytest.MonkeyPatch, blocks: int):
    long = BATCHES.with_(name="long", l=blocks)
    assert failure(attention, config=long) is None
    monkeypatch.setattr(*BUGS_OF_LONG_ARRAYS[blocks])
    assert failure(attention, config=long) is not None


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    assert failure_with(monkeypatch, BUGS[bug]) is not None
