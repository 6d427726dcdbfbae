"""What one engine begins beside the other one's last pixels: which tasks are cut, where, and what waits for what."""

import pytest

from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.compiler.tasks import ALL, Task
from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.control.descriptor import Opcode, Unit
from hw.timing import DISPATCH, Timing
from quant.blank import blank_artifact
from quant.networks.spec import spec
from sim.cycles.model import predict
from tests.hw.compiler.test_compile import assert_sound
from tests.support import core_check
from tests.support.networks import NetworkBuilder

#: Room for two of the six heads a batch.
BATCHED = TOY.with_(name="batched", z_rows=4)
BOTH = Unit.MAT | Unit.RMAC


def heads(height: int = 8, width: int = 10) -> NetworkBuilder:
    net = NetworkBuilder(3, height, width)
    net.attention("att", (net.pw("qkv", net.stem(16), 72),), 4, z_bits=15)
    return net


def tasks_of(program: Program, layer: str) -> list[Task]:
    return [task for task in program.tasks if task.layer == layer and task.opcode is not Opcode.STORE]


def test_a_tile_that_no_sums_need_comes_last_and_is_shared_until_they_begin():
    program = compile_network(heads().artifact(), BATCHED)
    assert_sound(program)
    first, others, shared, rest = tasks_of(program, "qkv")
    assert [task.joint for task in (first, others, shared, rest)] == [1, 1, 1, 0]
    assert [(task.get("px_start"), task.get("px_end")) for task in (first, others)] == [(0, 20)] * 2
    assert shared.get("px_end") == rest.get("px_start") and (shared.get("px_start"), rest.get("px_end")) == (0, 20)
    # Queries of four heads of six, two channel groups a tile: the first batch's divisors do not wait for the second tile.
    assert [task.get("dst_cg") for task in (first, others, shared, rest)] == [0, 4, 2, 2]
    assert [task.get("tiles") for task in (first, others, shared, rest)] == [1, 7, 1, 2] and rest.wait == Unit.MAT
    sums = [task for task in tasks_of(program, "att") if task.opcode is Opcode.KTV]
    assert all(task.get("src_cg") >= 4 for task in sums)
    assert [task.wait for task in sums] == [Unit.RMAC, BOTH, Unit.MAT]
    assert first.macs + others.macs + shared.macs + rest.macs == 20 * 16 * 72


def test_nothing_is_shared_where_the_first_batch_has_all_heads():
    program = compile_network(heads().artifact(), TOY)
    assert len(tasks_of(program, "qkv")) == 1
    assert next(task.wait for task in tasks_of(program, "att")) == ALL


def test_it_saves_cycles(monkeypatch):
    artifact = heads().artifact()
    cut = predict(compile_network(artifact, BATCHED)).cycles
    monkeypatch.setattr("hw.compiler.compile.sums_beside_product", lambda product, tasks, attention: (list(tasks), attention))
    assert cut < predict(compile_network(artifact, BATCHED)).cycles


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_sums_beside_a_product_are_bit_exact(stall):
    core_check.check(heads(), BATCHED, stall=stall, seed=4)


def steps_of(program: Program, stage: str) -> list[str]:
    """The tasks of a stage's first attention behind its product, with the heads of each."""
    tasks = [task for task in program.tasks if task.layer.startswith(f"{stage}.1.MLA.a")]
    return [f"{task.opcode.name}{task.get('heads') or task.get('tiles') * (task.unit is Unit.MAT) or ''}" for task in tasks]


def test_two_batches_of_sums_beside_a_tile_and_a_head_behind_the_aggregation():
    program = b1(ZCU102, 1)
    assert_sound(program)
    assert steps_of(program, "S4") == [
        *("KTV8", "KTV8", "DIV8", "DW", "QZ8", "DIV8", "QZ8", "PW48"),
        *("KTV2", "KTV7", "DIV2", "QZ2", "KTV7", "DIV7", "QZ7", "DIV7", "QZ7"),
    ]
    assert steps_of(program, "S3") == [
        *("KTV4", "KTV3", "DIV4", "DW", "QZ4", "DIV3", "QZ3", "PW24"),
        *("KTV1", "DIV1", "KTV2", "QZ1", "KTV3", "DIV2", "QZ2", "KTV3", "DIV3", "QZ3", "DIV3", "QZ3"),
    ]
    for stage in ("S3", "S4"):
        attention = [task for task in program.tasks if task.layer.startswith(f"{stage}.1.MLA.a")]
        rest = [task for task in program.tasks if task.layer == f"{stage}.1.MLA.qkv"][-1]
        assert (rest.joint, rest.wait) == (0, Unit.MAT)
        assert [task.wait for task in attention[:2]] == [Unit.RMAC, Unit(0)]
        # The depthwise layer reads what MAT wrote alone, which has been written when the task before its last one has ended.
        depthwise = next(task for task in attention if task.opcode is Opcode.DW)
        assert depthwise.get("past") == Unit.MAT or attention[2].get("early") == 0


def b1(config: AcceleratorConfig, pictures: int) -> Program:
    return compile_network(blank_artifact(spec("b1").at((224, 224))), config, pictures)


def written_to(stem: Task) -> int:
    """The row of H behind those that the stem writes: four sub-buffers share a channel group's."""
    assert stem.get("dst_fold") == 2
    return stem.get("dst_base") + -(-stem.get("dst_rows") // 4)


def test_the_next_stem_begins_beside_pooling():
    program = b1(ZCU102, 2)
    assert_sound(program)
    first, rest = (task for task in tasks_of(program, "stem.0") if task.picture == 1 and task.opcode is Opcode.PW)
    pool = next(task for task in program.tasks if task.opcode is Opcode.POOL and task.picture == 0)
    assert (first.joint, first.wait, rest.joint, rest.wait) == (0, Unit.MAT, 1, BOTH)
    assert first.get("px_end") == rest.get("px_start")
    # A group of pixels is two tiles of four words; one more would end after R-MAC is open.
    assert 0 <= pool.beats(ZCU102) + Timing.of(ZCU102).pool_result - DISPATCH - first.beats(ZCU102) < 8
    # What one writes the other does not read.
    rows = range(pool.get("src_base"), pool.get("src_base") + pool.get("tiles") // 8 * pool.get("src_rows"))
    assert first.fields["dst"] is pool.fields["src"]
    assert written_to(first) <= rows.start and rows.stop <= ZCU102.h_rows // 8
    single = [task for task in tasks_of(b1(ZCU102, 1), "stem.0") if task.opcode is Opcode.PW]
    assert [task.joint for task in single] == [1]


def test_the_next_picture_s_first_band_begins_beside_pooling():
    program = compile_network(blank_artifact(spec("b1").at((288, 288))), ZCU102, 2)
    assert_sound(program)
    stems = [task for task in tasks_of(program, "stem.0") if task.opcode is Opcode.PW and task.picture == 1]
    # Pooling takes most of the band's time by MAT alone.
    assert [(task.joint, task.wait) for task in stems[:3]] == [(0, Unit.MAT), (1, BOTH), (1, BOTH)]
    assert stems[0].get("px_end") == stems[1].get("px_start") and stems[1].get("px_end") == stems[2].get("px_start")
    single = tasks_of(compile_network(blank_artifact(spec("b1").at((288, 288))), ZCU102, 1), "stem.0")
    assert sum(task.opcode is Opcode.PW for task in single) == len(stems) - 1 == 8


def test_the_stem_waits_where_its_rows_are_pooled():
    small = ZCU102.with_(name="small", h_rows=2048)
    program = b1(small, 2)
    pool = next(task for task in program.tasks if task.opcode is Opcode.POOL)
    stems = [task for task in tasks_of(program, "stem.0") if task.opcode is Opcode.PW]
    assert written_to(stems[0]) > pool.get("src_base")
    assert {(task.joint, task.wait) for task in stems} == {(1, BOTH)}
