"""Tasks and the memory image."""

import numpy as np
import pytest

from hw.compiler.compile import compile_network
from hw.compiler.packets import ChannelParams, matrix_packet, param_packet
from hw.compiler.places import Place
from hw.compiler.program import Program
from hw.compiler.tasks import ALL, Task
from hw.config import TOY, ZCU102
from hw.control.descriptor import SIZE, Act, Buffer, Opcode, Unit, unpack
from quant.blank import blank_artifact
from quant.networks.spec import spec
from tests.support.networks import NetworkBuilder


def a_program(tasks: int) -> Program:
    packets = (
        param_packet(TOY, "mat", 2, ChannelParams.of(TOY, 4, mult=1), [0]),
        matrix_packet(TOY, "mat", 2, np.ones((4, 8), np.int8), 0),
    )
    task = Task("pw", Opcode.PW, {"tag": 3, "tiles": 1}, ALL, packets)
    place = Place(Buffer.O, base=0, rows=2, skew=2, groups=3, pixels=5, height=6)
    return Program(TOY, "net", (task,) * tasks, {"out": place}, "out", 3 * 40 * 40)


def test_regions_begin_at_pages():
    program = a_program(70)
    # 71 descriptors; for each task two headers, four beats of parameters and two rows of one beat.
    assert program.descriptor_count == 71 and program.weight_beats == 70 * 8
    assert program.addresses == {
        "program": 0,
        "weights": 8192,
        "input": 8192 + 12288,
        "output": 8192 + 12288 + 8192,
        "end": 8192 + 12288 + 8192 + 4096,
    }
    # Three channel groups of two rows of four words of four int16.
    assert program.output_bytes == 3 * 2 * 4 * 4 * 2


def test_the_image_holds_program_and_weights():
    program = a_program(3)
    image, at = program.image(), program.addresses
    assert len(image) == at["input"] == 8192
    assert image[: 4 * SIZE] == program.descriptors and not any(image[4 * SIZE : at["weights"]])
    assert image[at["weights"] :].rstrip(b"\0") == program.weights.rstrip(b"\0") and len(program.weights) == 3 * 8 * 16


def test_the_end_carries_the_last_tag():
    last = unpack(a_program(2).descriptors[-SIZE:])
    assert (last["magic"], last["opcode"], last["tag"], last["wait"]) == (0xA7, Opcode.END.value, 3, 0)


@pytest.mark.parametrize(
    ("opcode", "unit"),
    [
        (Opcode.LOAD, Unit.LOAD),
        (Opcode.STORE, Unit.STORE),
        (Opcode.PW, Unit.MAT),
        (Opcode.QZ, Unit.MAT),
        (Opcode.DIV, Unit.MAT),
        (Opcode.LN, Unit.MAT),
        (Opcode.DW, Unit.RMAC),
        (Opcode.KTV, Unit.RMAC),
        (Opcode.POOL, Unit.RMAC),
        (Opcode.END, Unit(0)),
    ],
)
def test_units(opcode, unit):
    assert Task("layer", opcode, {}).unit is unit


def test_enums_are_fields():
    task = Task("layer", Opcode.PW, {"dst": Buffer.D, "act": Act.RESIDUAL, "px_end": 9, "joint": 1}, Unit.MAT | Unit.RMAC)
    values = unpack(task.descriptor())
    assert (task.get("dst"), task.get("act"), task.get("px_end"), task.get("tiles"), task.joint) == (2, 2, 9, 0, True)
    assert [values[name] for name in ("dst", "act", "px_end", "joint", "wait", "opcode")] == [2, 2, 9, 1, 3, 3]


@pytest.mark.parametrize(
    ("opcode", "fields", "beats", "results"),
    [
        # Pixels 3 to 12 in groups of two, three tiles of seven words.
        (Opcode.PW, {"px_start": 3, "px_end": 12, "lp": 1, "tiles": 3, "depth": 7}, 5 * 3 * 7, 5 * 3),
        (Opcode.QZ, {"px_end": 6, "lp": 1, "tiles": 5, "depth": 2}, 3 * 5 * 2, 3 * 5),
        (Opcode.DIV, {"px_end": 6, "lp": 2, "tiles": 5, "depth": 2}, 2 * 5 * 2, 2 * 5),
        # Both passes of a vector, and a beat between them; each further vector has its first pass beside another one's second.
        (Opcode.LN, {"px_end": 1, "depth": 11}, 23, 11),
        (Opcode.LN, {"px_end": 2, "depth": 11}, 44, 22),
        (Opcode.LN, {"px_end": 9, "depth": 11}, 11 * 11, 99),
        (Opcode.DW, {"px_end": 15, "w_out": 5, "stride": 1, "kernel": 3, "tiles": 2, "dst_cg_end": 5}, 4 * 2 * 9, 4 * 5),
        # Three rows of five pixels, two pixels a segment.
        (Opcode.DW, {"px_end": 15, "w_out": 5, "stride": 2, "kernel": 5, "tiles": 2, "dst_cg_end": 5}, 9 * 2 * 25, 9 * 5),
        # Two K groups by two V groups, three beats of pixels each, and a pause where a pass gives Z and Ksum.
        (Opcode.KTV, {"px_end": 10, "lp": 2, "heads": 3, "tiles": 2}, 3 * 2 * (2 * 3 + 1), 3 * 2 * 3),
        (Opcode.POOL, {"px_end": 10, "tiles": 6}, 6 * 3, 6),
        (Opcode.STORE, {"px_end": 10}, 0, 0),
    ],
)
def test_beats_and_results_by_hand(opcode, fields, beats, results):
    task = Task("layer", opcode, fields)
    assert (task.beats(TOY), task.results(TOY)) == (beats, results)


def test_packets_come_in_the_order_of_the_tasks():
    net = NetworkBuilder(1, 4, 4)
    net.head(net.stem(5), 7, 6, 3)
    program = compile_network(net.artifact(), TOY)
    at = 0
    for packet in (packet for task in program.tasks for packet in task.packets):
        assert int.from_bytes(program.weights[at : at + 4], "little") == 0x5754 | packet.kind << 16 | packet.split << 20
        at += packet.beats(TOY) * TOY.beat_bytes
    assert at == len(program.weights)


@pytest.mark.parametrize(("network", "config"), [("digits", TOY), ("b1", ZCU102)])
def test_the_same_bytes_twice(network, config):
    images = [compile_network(blank_artifact(spec(network)), config).image() for _ in range(2)]
    assert images[0] == images[1]
