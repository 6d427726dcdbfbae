"""What attention layers say of divisors and sums, and what their tasks do with it."""

import pytest

from hw.config import TOY
from hw.control.descriptor import Act, Opcode
from quant.contract import QUOTIENT_SHIFT
from tests.hw.compiler.test_compile import built


@pytest.mark.parametrize(("code_bits", "act", "out_shift"), [(4, Act.NONE, 0), (10, Act.QUOTIENT, QUOTIENT_SHIFT)])
def test_the_layer_says_how_fine_divisors_are(code_bits: int, act: Act, out_shift: int):
    program = built(0, 4, 4, lambda net: net.attention("att", (net.pw("qkv", net.stem(4), 24),), 4, code_bits), TOY)
    divisors, quotients = ([task for task in program.tasks if task.opcode is kind] for kind in (Opcode.DIV, Opcode.QZ))
    assert divisors and quotients
    assert {task.get("act") for task in divisors + quotients} == {act.value}
    assert {(task.get("out_shift"), task.get("use_code")) for task in quotients} == {(out_shift, 1)}


@pytest.mark.parametrize(("z_bits", "dim", "split"), [(8, 4, 2), (8, 8, 1), (15, 4, 1), (15, 8, 0)])
def test_the_layer_says_how_wide_sums_are(z_bits: int, dim: int, split: int):
    """Both parts of a head's channel groups fill slots, and the result lies as it is written."""
    program = built(0, 4, 4, lambda net: net.attention("att", (net.pw("qkv", net.stem(4), 48),), dim, z_bits=z_bits), TOY)
    wide = {task.opcode: task.get("wide") for task in program.tasks if task.layer == "att"}
    assert wide == {Opcode.KTV: int(z_bits == 15), Opcode.DIV: 0, Opcode.QZ: int(z_bits == 15), Opcode.STORE: 0}
    quotients = [task for task in program.tasks if task.opcode is Opcode.QZ]
    assert {task.get("lp") for task in quotients} == {program.places["att"].skew} == {split}
    # 4 pixels, heads of dim / 4 words each.
    assert sum(task.beats(TOY) for task in quotients) == (4 >> split) * 16 // 4
