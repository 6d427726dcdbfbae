"""The divisors of attention, tampered with: logarithms, the codes that are kept, and reciprocals."""

from typing import Any

import pytest
from amaranth import Cat, Const, Module, Mux
from amaranth.hdl import Value

from hw.config import TOY
from hw.delay import delayed
from hw.units.divisor_buffer import DivisorBuffer
from hw.units.divisor_code import DivisorCode
from hw.units.log2 import Log2
from quant.contract import FRACTION_BITS, RECIPROCALS
from tests.hw.planted_bugs.networks import after_attention, attention, both_widths, fine_attention
from tests.hw.planted_bugs.planting import ONES, Bug, failure_with
from tests.support.tamper import constant, plus, tampered


def whole_parts_lost(codes: Any) -> Value:
    return Cat(Cat(codes[slot][:FRACTION_BITS], Const(0, 4)) for slot in range(TOY.l))


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


BUGS: dict[str, Bug] = {
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
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    assert failure_with(monkeypatch, BUGS[bug]) is not None
