"""Group convolutions that are cut into several tasks."""

from hw.config import TOY
from hw.control.descriptor import Opcode, Unit
from tests.hw.compiler.test_compile import assert_sound, built


def test_more_groups_than_the_rings_hold_are_done_one_part_after_the_other():
    config = TOY.with_(name="few", weight_rows=16, o_rows=128)
    program = built(
        5, 8, 8, lambda net: net.pw("gpw", net.dw("dw", net.pw("pw", net.stem(4), 80), act="none"), 80, groups=20), config
    )
    assert_sound(program)
    parts = [task for task in program.tasks if task.layer == "gpw" and task.opcode is Opcode.PW]
    assert [(task.get("tiles"), task.get("src_cg"), task.get("dst_cg"), task.get("dst_cg_end")) for task in parts] == [
        (16, 0, 0, 20), (4, 16, 16, 20)
    ]
    assert all(task.get("gated") and task.wait == Unit.MAT for task in parts)
    assert sum(task.macs for task in parts) == 16 * 80 * 4
