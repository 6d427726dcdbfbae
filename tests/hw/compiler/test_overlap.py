"""What one engine begins beside the other one's last pixels: which tasks are cut, where, and what waits for what."""

import pytest

from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.compiler.tasks import ALL, Task
from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.control.descriptor import Opcode, Unit
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


def test_the_last_tile_is_shared_until_the_first_sums_begin():
    program = compile_network(heads().artifact(), BATCHED)
    assert_sound(program)
    whole, shared, rest = tasks_of(program, "qkv")
    assert [task.joint for task in (whole, shared, rest)] == [1, 1, 0]
    assert (whole.get("px_start"), whole.get("px_end")) == (0, 20)
    assert shared.get("px_end") == rest.get("px_start") and (shared.get("px_start"), rest.get("px_end")) == (0, 20)
    assert shared.get("dst_cg") == rest.get("dst_cg") == 2 * whole.get("tiles")
    assert (shared.get("tiles"), rest.get("tiles"), rest.wait) == (1, 2, Unit.MAT)
    sums = [task for task in tasks_of(program, "att") if task.opcode is Opcode.KTV]
    assert [task.wait for task in sums] == [Unit.RMAC, BOTH, Unit.MAT]
    assert whole.macs + shared.macs + rest.macs == 20 * 16 * 72


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
    assert 0 < pool.beats(ZCU102) - first.beats(ZCU102) <= 16
    # What one writes the other does not read.
    rows = range(pool.get("src_base"), pool.get("src_base") + pool.get("tiles") // 8 * pool.get("src_rows"))
    assert first.fields["dst"] is pool.fields["src"]
    assert written_to(first) <= rows.start and rows.stop <= ZCU102.h_rows // 8
    single = [task for task in tasks_of(b1(ZCU102, 1), "stem.0") if task.opcode is Opcode.PW]
    assert [task.joint for task in single] == [1]


def test_the_stem_waits_where_its_rows_are_pooled():
    small = ZCU102.with_(name="small", h_rows=2048)
    program = b1(small, 2)
    pool = next(task for task in program.tasks if task.opcode is Opcode.POOL)
    stems = [task for task in tasks_of(program, "stem.0") if task.opcode is Opcode.PW]
    assert written_to(stems[0]) > pool.get("src_base")
    assert {(task.joint, task.wait) for task in stems} == {(1, BOTH)}
