"""Products: the stem behind LOAD, residuals, and what the rings hold."""

from hw.compiler.compile import compile_network
from hw.compiler.packets import PARAMS, RECORD
from hw.compiler.tasks import ALL
from hw.config import TOY
from hw.control.descriptor import Act, Opcode, Unit
from tests.hw.compiler.test_compile import assert_sound, built
from tests.support.networks import NetworkBuilder


def test_the_stem_follows_load_where_its_weights_are_resident():
    program = built(0, 8, 8, lambda net: net.stem(40), TOY)
    load, stem = program.tasks[:2]
    assert (load.opcode, stem.opcode, stem.wait) == (Opcode.LOAD, Opcode.PW, Unit.MAT | Unit.RMAC)
    assert [task.get("behind_load") for task in program.tasks] == [0, 1, 0]
    assert [stem.get(name) for name in ("gated", "pixel_outer", "px_start", "px_end")] == [1, 1, 0, 16]
    # 7 words of 27 inputs in each of 5 tiles.
    assert 7 * stem.get("tiles") == 35
    few = TOY.with_(weight_rows=32)
    stem = built(0, 8, 8, lambda net: net.stem(40), few).tasks[1]
    assert (stem.wait, stem.get("gated"), stem.get("behind_load"), stem.get("pixel_outer")) == (ALL, 0, 0, 0)


def test_a_residual_has_a_multiplier_a_channel():
    net = NetworkBuilder(1, 4, 4)
    stem = net.stem(6)
    net.pw("pw2", net.dw("dw", net.pw("pw1", stem, 9, "hardswish")), 6, residual=stem)
    multipliers = net.layers[-1].arrays["three"].tolist()
    tasks = [task for task in compile_network(net.artifact(), TOY).tasks if task.get("act") == Act.RESIDUAL.value]
    assert tasks and len(set(multipliers)) > 1
    for task in tasks:
        words = [word for packet in task.packets if packet.kind in PARAMS.values() for row in packet.payload for word in row]
        sent = [int(value) for word in words for value in word[: TOY.m * RECORD.itemsize].view(RECORD)["three"]]
        assert [value for value in sent if value] == multipliers, task


def test_a_product_that_is_narrow_and_long_fits_the_parameter_ring():
    # One engine alone would be quicker, and needs 65 rows of parameters where the ring has 64.
    program = built(0, 16, 16, lambda net: net.pw("pw", net.stem(4), 260), TOY.with_(name="deep", o_rows=2048))
    assert_sound(program)
    assert [task.joint for task in program.tasks if task.layer == "pw" and task.opcode is Opcode.PW] == [True]
