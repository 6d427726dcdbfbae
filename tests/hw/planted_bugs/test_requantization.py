"""Both steps of the post-processor, tampered with: rounding, saturation, and what the steps add and multiply."""

from typing import Any

import pytest
from amaranth import Cat, Const, Mux
from amaranth.hdl import Value

from hw.control.descriptor import Act
from hw.units.requantizer import Requantizer
from hw.units.rounding import _shifted as true_shifted
from hw.units.second_step import SecondStep
from tests.hw.planted_bugs.networks import attention, block, fine_attention, plain_block, product
from tests.hw.planted_bugs.planting import Bug, failure_with
from tests.support.tamper import constant, plus, tampered


def rounded_down(magnitude: Value, negative: Value) -> Value:
    """Half of the number, towards minus infinity."""
    return Cat(magnitude ^ negative.replicate(len(magnitude)), negative).as_signed() >> 1


def shifted_without_limit(*args: Any) -> tuple[Value, Value]:
    """What does not fit is cut off."""
    shifted, _ = true_shifted(*args)
    return shifted, Const(0, 1)


BUGS: dict[str, Bug] = {
    "rounding towards minus infinity": ("hw.units.rounding._rounded", rounded_down, product, 0),
    "no saturation to 16 bits": ("hw.units.rounding._shifted", shifted_without_limit, product, 0),
    "no saturation to 8 bits": ("hw.units.second_step.saturated", lambda value, bits: value[:bits].as_signed(), product, 0),
    "zero point ignored": ("hw.units.post_processor.SecondStep", tampered(SecondStep, zero=constant(0)), product, 0),
    "residual's zero point ignored": ("hw.units.post_processor.SecondStep", tampered(SecondStep, centre=constant(0)), block, 0),
    "three of hardswish off by one": ("hw.units.post_processor.SecondStep", tampered(SecondStep, three=plus(1)), block, 0),
    "bias ignored": ("hw.units.post_processor.Requantizer", tampered(Requantizer, bias=constant(0)), product, 0),
    "divisor's code ignored": ("hw.units.post_processor.Requantizer", tampered(Requantizer, code=constant(0)), attention, 0),
    "quotient not multiplied": (
        "hw.units.post_processor.SecondStep",
        tampered(SecondStep, act=lambda act: Mux(act == Act.QUOTIENT, Act.NONE, act)),
        fine_attention,
        0,
    ),
    "residual multiplier off by one": (
        "hw.units.post_processor.SecondStep",
        tampered(SecondStep, three=plus(1)),
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
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    assert failure_with(monkeypatch, BUGS[bug]) is not None
