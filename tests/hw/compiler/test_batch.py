"""Programs for several pictures: what is done once a picture, what once for all, and when the next picture is loaded."""

from dataclasses import replace
from itertools import groupby

import pytest

from hw.compiler.batch import load_slot, vector_layers
from hw.compiler.compile import compile_network
from hw.compiler.program import PAGE, Batch, Program
from hw.compiler.tasks import ALL
from hw.config import TOY, ZCU102
from hw.control.descriptor import Buffer, Opcode, Unit
from quant.blank import blank_artifact
from quant.networks.spec import spec
from tests.hw.compiler.test_compile import assert_sound
from tests.support.networks import NetworkBuilder
from triovit.errors import UserError


def digits(pictures: int) -> Program:
    return compile_network(blank_artifact(spec("digits")), TOY, pictures)


def test_one_picture_is_the_plain_program():
    plain = compile_network(blank_artifact(spec("digits")), TOY)
    assert digits(1).image() == plain.image()
    assert (plain.batch, plain.repeated, plain.repeated_beats, plain.stores) == (Batch(), 0, 0, 1)
    assert {task.picture for task in plain.tasks} == {None}


@pytest.mark.parametrize("pictures", [2, 4])
def test_the_backbone_comes_once_a_picture_and_the_head_once(pictures):
    one, program = digits(1), digits(pictures)
    assert_sound(program)
    head = {"head.fc1", "head.ln", "head.fc2"}
    for picture in range(pictures):
        # LOAD moves, the others stay in order.
        mine = [(t.layer, t.opcode) for t in program.tasks if t.picture == picture and t.opcode is not Opcode.LOAD]
        # One picture's products may be cut into tasks in another way.
        alone = [(t.layer, t.opcode) for t in one.tasks if t.layer not in head and t.opcode is not Opcode.LOAD]
        assert [task for task, _ in groupby(mine)] == [task for task, _ in groupby(alone)]
    shared = [task for task in program.tasks if task.picture is None]
    assert [t.layer for t in shared] == ["head.fc1", "head.ln", "head.fc2", "head.fc2"]
    assert [(t.get("px_start"), t.get("px_end")) for t in shared if t.opcode is Opcode.LN] == [(0, pictures)]
    assert [t.get("px_end") for t in shared if t.opcode is Opcode.PW] == [pictures, pictures]
    assert program.tasks[-1].opcode is Opcode.STORE and program.tasks[-1].get("px_end") == pictures
    pools = [task for task in program.tasks if task.opcode is Opcode.POOL]
    assert [pool.get("px_start") for pool in pools] == list(range(pictures))
    assert len({pool.get("px_end") for pool in pools}) == 1
    assert sum(task.macs for task in program.tasks) == pictures * sum(task.macs for task in one.tasks)


def test_weights_lie_in_memory_once():
    program = digits(4)
    backbone = [packet for task in program.tasks if task.picture == 0 for packet in task.packets]
    assert program.repeated_beats == sum(packet.beats(TOY) for packet in backbone)
    size = program.repeated_beats * TOY.beat_bytes
    assert program.weights[:size] == b"".join(packet.encode(TOY) for packet in backbone)
    # What the reader gives, part after part, is what the tasks take in their order.
    given = 4 * program.weights[:size] + program.weights[size:]
    assert given == b"".join(packet.encode(TOY) for task in program.tasks for packet in task.packets)


def test_products_follow_depthwise_layers_further_where_there_are_several_pictures():
    """B1's last stage: MAT's share, 4096 beats of weights, comes a second time beside 576 beats of R-MAC."""
    blank = blank_artifact(spec("b1").at((224, 224)))
    for pictures, count in ((1, 1), (2, 2)):
        program = compile_network(blank, ZCU102, pictures)
        tasks = [task for task in program.tasks if task.layer == "S4.1.MB.pw2" and task.picture in (None, 0)]
        assert [task.get("gated") for task in tasks] == [1, 0][-count:]


def test_pictures_and_results_have_places_of_their_own():
    program = digits(4)
    at = program.addresses
    assert at["output"] - at["input"] == 4 * PAGE and at["end"] - at["output"] == PAGE
    loads = [task for task in program.tasks if task.opcode is Opcode.LOAD]
    assert [load.get("offset") * TOY.beat_bytes for load in loads] == [0, PAGE, 2 * PAGE, 3 * PAGE]
    assert program.stores == 1 and program.tasks[-1].get("offset") == 0



@pytest.mark.parametrize(("network", "resolution", "config"), [("digits", None, TOY), ("b1", 224, ZCU102), ("b0", 224, ZCU102)])
def test_the_next_picture_is_loaded_where_nothing_else_uses_its_rows(network, resolution, config):
    wanted = spec(network) if resolution is None else spec(network).at((resolution, resolution))
    program = compile_network(blank_artifact(wanted), config, 4)
    assert_sound(program)
    tasks = program.tasks
    loads = [index for index, task in enumerate(tasks) if task.opcode is Opcode.LOAD]
    # The first pixels of a stem are MAT's alone, beside the pooling of the picture before.
    behind = [(index, task) for index, task in enumerate(tasks) if task.get("behind_load")]
    assert [task.joint for _, task in behind] == [0, 1] * 4
    stems = [index for index, task in behind if not task.get("px_start")]
    assert len(loads) == len(stems) == 4 and loads[0] == 0
    vectors = program.places[program.batch.vectors[0]]
    taken = range(tasks[0].get("dst_base"), tasks[0].get("dst_base") + tasks[0].get("dst_cg_end") * tasks[0].get("dst_rows"))
    assert vectors.buffer is Buffer.D and not set(taken) & set(range(vectors.base, vectors.end))
    for load, stem in zip(loads[1:], stems[1:], strict=True):
        # The task before began a step: nothing that came before it is still under way.
        assert tasks[load].wait == Unit(0) and tasks[load - 1].wait & (Unit.MAT | Unit.RMAC) == Unit.MAT | Unit.RMAC
        assert tasks[load].picture == tasks[stem].picture == tasks[load - 1].picture + 1
        assert load < stem
        for task in tasks[load + 1 : stem + 1]:
            assert not task.wait & Unit.LOAD, task
        for task in tasks[load - 1 : stem]:
            if task.opcode is not Opcode.LOAD:
                assert task.fields.get("src") is not Buffer.D
                writes = task.fields["dst"] is Buffer.D or (task.get("dst2_on") and task.fields["dst2"] is Buffer.D)
                assert not writes or task.opcode is Opcode.POOL
    assert all(task.wait == ALL for task in tasks[stems[-1] + 2 :] if task.layer == "stem.1.dw")


def test_where_nothing_is_pooled_every_picture_is_stored_and_the_next_one_loaded_meanwhile():
    net = NetworkBuilder(1, 8, 8)
    net.pw("pw", net.dw("dw", net.stem(4)), 4)
    artifact = net.artifact()
    program = compile_network(artifact, TOY, 2)
    assert program.batch.vectors == () and program.stores == 2
    body = [task for task in program.tasks if task.picture == 1]
    assert body[0].opcode is Opcode.LOAD and body[load_slot(body)].opcode is Opcode.STORE
    first, second = ([task.opcode for task in program.tasks if task.picture == picture] for picture in range(2))
    assert first == second
    at = program.tasks.index(body[0])
    assert program.tasks[at - 1].opcode is Opcode.STORE and program.tasks[at - 1].picture == 0
    assert body[0].wait == Unit(0)
    assert [t.get("offset") for t in program.tasks if t.opcode is Opcode.STORE] == [0, PAGE // TOY.beat_bytes]
    assert program.addresses["end"] - program.addresses["output"] == 2 * PAGE
    assert program.repeated == sum(len(task.packets) for task in program.tasks) // 2


def test_vectors_go_elsewhere_where_d_is_full():
    program = compile_network(blank_artifact(spec("digits")), TOY.with_(d_rows=126), 2)
    assert_sound(program)
    assert program.places[program.batch.vectors[0]].buffer in (Buffer.X, Buffer.Y)



def test_vectors_of_more_pictures_than_a_row_has_places_for_take_more_rows():
    program = digits(6)
    assert_sound(program)
    assert program.places[program.batch.vectors[0]].rows == 2
    assert [task.get("px_end") for task in program.tasks if task.opcode is Opcode.LN] == [6]


def test_more_pictures_than_the_results_buffer_holds_are_refused():
    with pytest.raises(UserError) as caught:
        digits(88)
    assert str(caught.value) == (
        "a batch of 88 pictures cannot be mapped, a smaller one may: layer head.fc2: its output of 12 channels x 88 pixels does "
        "not fit buffer O of configuration toy (64 rows); use a larger configuration or a smaller resolution"
    )


@pytest.mark.parametrize("pictures", [1, 3])
def test_what_a_smaller_batch_does_not_mend_is_refused_in_its_own_words(pictures):
    net = NetworkBuilder(3, 8, 8)
    net.fc("fc", net.pool("pool", net.dw("dw", net.pw("pw", net.stem(4), 40), kernel=5)), 4)
    with pytest.raises(UserError) as caught:
        compile_network(net.artifact(), TOY.with_(name="few", weight_rows=16), pictures)
    assert str(caught.value) == (
        "layer dw: 40 channels of 5x5 weights exceed weight_rows = 16 of configuration few; use a larger one"
    )


def test_a_head_that_looks_back_is_refused_for_several_pictures():
    net = NetworkBuilder(3, 8, 8)
    stem = net.stem(4)
    pooled = net.pool("pool", stem)
    net.fc("fc", pooled, 4)
    artifact = net.artifact()
    assert vector_layers(artifact) == ("pool", "fc")
    backwards = replace(artifact.layers[-1], inputs=(stem,))
    with pytest.raises(UserError) as caught:
        vector_layers(replace(artifact, layers=(*artifact.layers[:-1], backwards)))
    assert str(caught.value) == (
        "layer fc: follows pooling and reads stem.0 from before it, which cannot be done for several pictures at once; "
        "use a batch of 1"
    )
    convolved = replace(artifact.layers[-1], kind="dw")
    with pytest.raises(UserError) as caught:
        vector_layers(replace(artifact, layers=(*artifact.layers[:-1], convolved)))
    assert str(caught.value) == (
        "layer fc: follows pooling and is of kind dw, which cannot be done for several pictures at once; use a batch of 1"
    )
