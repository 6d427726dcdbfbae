"""Whole networks: what is mapped where, and what is refused in which words."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hw.compiler.compile import compile_network
from hw.compiler.packets import PARAMS, WEIGHTS
from hw.compiler.program import Program
from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.control.descriptor import SIZE, Act, Buffer, Opcode, Unit, unpack
from quant.artifact import Artifact
from quant.blank import blank_artifact
from quant.layer import Residual
from quant.networks.spec import spec
from tests.support.networks import NetworkBuilder
from triovit.errors import UserError


def built(seed: int, height: int, width: int, grow: Callable[[NetworkBuilder], object], config: AcceleratorConfig) -> Program:
    net = NetworkBuilder(seed, height, width)
    grow(net)
    return compile_network(net.artifact(), config)


def assert_sound(program: Program) -> None:
    """What must hold for every program, whatever the network."""
    config = program.config
    depth = {
        Buffer.X: config.x_rows,
        Buffer.Y: config.y_rows,
        Buffer.D: config.d_rows,
        Buffer.H: config.h_rows // config.wide,
        Buffer.O: config.o_rows,
    }
    for task in program.tasks:
        rows: Counter = Counter()
        for packet in task.packets:
            rows[packet.kind] += packet.rows
        # A task's parameters stay until its end; so do its weights where pixels are the outer loop.
        assert rows[PARAMS["mat"]] <= config.mat_param_rows and rows[PARAMS["rmac"]] <= config.rmac_param_rows, task
        if task.get("pixel_outer") or task.opcode in (Opcode.DW, Opcode.LN):
            assert all(rows[kind] <= config.weight_rows for kind in WEIGHTS.values()), task
        if task.opcode is Opcode.PW:
            assert task.get("depth") <= config.weight_rows and rows[WEIGHTS["mat"]] == task.get("tiles") * task.get("depth"), task
            assert rows[WEIGHTS["rmac"]] == (rows[WEIGHTS["mat"]] if task.joint else 0), task
        # One buffer cannot serve MAT and the residual in one cycle.
        if task.get("act") == Act.RESIDUAL.value:
            assert task.fields["res_src"] is not task.fields["src"], task
        assert unpack(task.descriptor())["opcode"] == task.opcode.value
    on_mat = [task for task in program.tasks if task.unit is Unit.MAT]
    for before, task in pairwise(on_mat):
        if before.get("act") == Act.RESIDUAL.value and task.get("early") & Unit.MAT:
            assert task.fields["src"] is not before.fields["res_src"], task
    for name, place in program.places.items():
        assert place.end <= depth[place.buffer], name


def test_the_digits_network_on_the_toy():
    program = compile_network(blank_artifact(spec("digits")), TOY)
    assert_sound(program)
    assert [task.opcode for task in program.tasks[:2]] == [Opcode.LOAD, Opcode.PW] and program.tasks[-1].opcode is Opcode.STORE
    assert {task.opcode for task in program.tasks} == set(Opcode) - {Opcode.END}
    assert program.places[program.output].buffer is Buffer.O and program.picture_bytes == 3 * 32 * 32
    assert len(program.descriptors) == SIZE * (len(program.tasks) + 1)


def test_b1_on_the_board():
    program = compile_network(blank_artifact(spec("b1").at((224, 224))), ZCU102)
    assert_sound(program)
    assert sum(task.macs for task in program.tasks) == 519_214_592
    # The inter-layer pipeline and the attention pipeline are used.
    assert any(task.get("gated") and not task.get("behind_load") for task in program.tasks)
    assert any(task.opcode is Opcode.KTV for task in program.tasks)


def test_products_are_those_of_the_layers():
    """Products of each convolution and FC: weights times pixels, however it is cut into tasks."""
    artifact = blank_artifact(spec("digits"))
    program = compile_network(artifact, TOY)
    for layer in artifact.layers:
        if "weight" in layer.arrays:
            expected = layer.arrays["weight"].size * int(np.prod(layer.output_shape[1:], dtype=int))
            assert sum(task.macs for task in program.tasks if task.layer == layer.name) == expected, layer.name


def test_every_layer_has_tasks_with_its_number():
    artifact = blank_artifact(spec("digits"))
    program = compile_network(artifact, TOY)
    numbers = {(task.get("tag"), task.layer) for task in program.tasks}
    assert numbers == set(enumerate(layer.name for layer in artifact.layers))


def stem_of(**changes: object) -> Callable[[NetworkBuilder], object]:
    def grow(net: NetworkBuilder) -> None:
        net.stem(4)
        net.layers[0].attrs.update(changes)

    return grow


def attention(dim: int, channels: int = 16) -> Callable[[NetworkBuilder], object]:
    return lambda net: net.attention("att", (net.pw("qkv", net.stem(4), 3 * channels),), dim)


LARGER = "use a larger one"
DENSE = "only the stem, a 3x3 convolution of the picture's 3 channels with stride 2, can be mapped as a dense convolution"
EVEN = "width and height must be even and the width from 4 to 64"
REFUSED = {
    "dense": (
        8,
        8,
        stem_of(stride=1),
        TOY,
        f"layer stem.0: {DENSE}",
    ),
    "kernel": (
        8,
        8,
        stem_of(kernel=5),
        TOY,
        f"layer stem.0: {DENSE}",
    ),
    "wide picture": (
        8,
        66,
        stem_of(),
        TOY,
        f"layer stem.0: a picture of 66x8 cannot be loaded by configuration toy; {EVEN}",
    ),
    "odd width": (
        8,
        9,
        stem_of(),
        TOY,
        f"layer stem.0: a picture of 9x8 cannot be loaded by configuration toy; {EVEN}",
    ),
    "odd height": (
        7,
        8,
        stem_of(),
        TOY,
        f"layer stem.0: a picture of 8x7 cannot be loaded by configuration toy; {EVEN}",
    ),
    "deep": (
        4,
        4,
        lambda net: net.pw("pw", net.pw("in", net.stem(4), 36), 4),
        TOY.with_(name="few", weight_rows=8),
        f"layer pw: 36 input channels exceed weight_rows = 8 of configuration few; {LARGER}",
    ),
    "deep, not whole words": (
        4,
        4,
        lambda net: net.pw("pw", net.pw("in", net.stem(4), 33), 4),
        TOY.with_(name="few", weight_rows=8),
        f"layer pw: 33 input channels exceed weight_rows = 8 of configuration few; {LARGER}",
    ),
    "many outputs": (
        4,
        4,
        lambda net: net.pw("pw", net.stem(4), 130),
        TOY.with_(name="few", param_rows=4),
        f"layer pw: 130 output channels need 5 rows of MAT's parameters, of which configuration few has 3 "
        f"(param_rows = 4); {LARGER}",
    ),
    "groups": (
        4,
        4,
        lambda net: net.pw("gpw", net.pw("pw", net.stem(4), 24), 24, groups=4),
        TOY,
        "layer gpw: groups of 6 to 6 channels cannot be mapped on configuration toy; they must be a power of two times 4",
    ),
    "groups of three words": (
        4,
        4,
        lambda net: net.pw("gpw", net.pw("pw", net.stem(4), 24), 24, groups=2),
        TOY,
        "layer gpw: groups of 12 to 12 channels cannot be mapped on configuration toy; they must be a power of two times 4",
    ),
    "deep groups": (
        8,
        8,
        lambda net: net.pw("gpw", net.pw("pw", net.stem(4), 128), 32, groups=2),
        TOY.with_(name="few", weight_rows=8),
        "layer gpw: groups of 64 channels exceed weight_rows = 8 of configuration few; use a larger one",
    ),
    "depthwise": (
        4,
        4,
        lambda net: net.dw("dw", net.pw("pw", net.stem(4), 24)),
        TOY.with_(name="few", param_rows=4),
        f"layer dw: 24 output channels need 6 rows of R-MAC's parameters, of which configuration few has 5 "
        f"(param_rows = 4); {LARGER}",
    ),
    "depthwise weights": (
        4,
        4,
        lambda net: net.dw("dw", net.pw("pw", net.stem(4), 40), kernel=5),
        TOY.with_(name="few", weight_rows=16),
        f"layer dw: 40 channels of 5x5 weights exceed weight_rows = 16 of configuration few; {LARGER}",
    ),
    "small heads": (
        4,
        4,
        attention(2),
        TOY,
        "layer att: heads of dimension 2 cannot be mapped on configuration toy; supported are powers of two from 4 to 8",
    ),
    "heads of three words": (
        4,
        4,
        attention(12, 24),
        TOY.with_(name="dims", max_dim=16),
        "layer att: heads of dimension 12 cannot be mapped on configuration dims; supported are powers of two from 4 to 8",
    ),
    "large heads": (
        4,
        4,
        attention(16),
        TOY.with_(name="dims", max_dim=32),
        "layer att: heads of dimension 16 cannot be mapped on configuration dims; supported are powers of two from 4 to 8",
    ),
    "large map": (
        8,
        8,
        attention(8),
        TOY.with_(name="few", divisor_rows=2),
        "layer att: a head of 16 pixels and dimension 8 does not fit the divisor buffer (8 pixels) or the Z buffer "
        "(64 rows, two batches) of configuration few; use a larger one or a smaller resolution",
    ),
    "pool": (
        4,
        4,
        lambda net: net.pool("pool", net.pw("pw", net.stem(4), 84)),
        TOY.with_(name="few", param_rows=4),
        f"layer pool: 84 output channels need 6 rows of R-MAC's parameters, of which configuration few has 5 "
        f"(param_rows = 4); {LARGER}",
    ),
    "layernorm": (
        4,
        4,
        lambda net: net.layernorm("ln", net.fc("fc", net.pool("pool", net.stem(4)), 36)),
        TOY.with_(name="few", param_rows=4, n=4),
        f"layer ln: 36 output channels need 5 rows of MAT's parameters, of which configuration few has 3 "
        f"(param_rows = 4); {LARGER}",
    ),
    "one buffer for two readers": (
        4,
        4,
        lambda net: net.pw("pw", (stem := net.stem(4)), 4, residual=stem),
        TOY,
        "layer pw: its input and its residual both lie in buffer X, which can be read once at a time; "
        "only a product behind a depthwise convolution or attention can have a residual",
    ),
    "full": (
        8,
        8,
        lambda net: net.dw("dw", net.stem(8)),
        TOY.with_(name="low", h_rows=4),
        "layer stem.0: its output of 8 channels x 16 pixels does not fit buffer H of configuration low (1 rows); "
        "use a larger configuration or a smaller resolution",
    ),
    "narrow picture": (
        4,
        2,
        stem_of(),
        TOY,
        f"layer stem.0: a picture of 2x4 cannot be loaded by configuration toy; {EVEN}",
    ),
    "depthwise with a residual": (
        4,
        4,
        lambda net: replace_post(net, net.dw("dw", net.stem(4), act="none"), residual=Residual("stem.0", 0)),
        TOY,
        "layer dw: a residual of a dw layer cannot be mapped; only a 1x1 product without groups can have one",
    ),
    "the picture read twice": (
        4,
        4,
        lambda net: (net.stem(4), net.pw("pw", "image", 4)),
        TOY,
        "layer pw: reads the picture, which only the stem, a dense convolution, can do",
    ),
    "logits inside": (
        4,
        4,
        lambda net: net.fc("last", net.fc("first", net.pool("pool", net.stem(4)), 5, logits=True), 3),
        TOY,
        "layer first: keeps 16-bit logits, which only the network's output can do",
    ),
}


def replace_post(net: NetworkBuilder, name: str, **changes: object) -> None:
    """Change the post-processing of a layer."""
    layer = next(layer for layer in net.layers if layer.name == name)
    layer.post = replace(layer.post, **changes)


def test_an_output_that_is_read_again_is_refused():
    net = NetworkBuilder(0, 4, 4)
    middle = net.pw("middle", net.stem(4), 4)
    net.pw("end", middle, 4)
    artifact = net.artifact()
    artifact.output = "middle"
    with pytest.raises(UserError) as error:
        compile_network(artifact, TOY)
    assert str(error.value) == "layer middle: is the network's output and read by layer end; an output has no readers"


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_mapped_is_refused(case):
    height, width, grow, config, message = REFUSED[case]
    net = NetworkBuilder(0, height, width)
    grow(net)
    # The artifact's own check refuses some of these networks earlier, so it is left out.
    network = {"name": "random", "resolution": [height, width], "classes": 1, "task": "classification"}
    artifact = Artifact(network=network, layers=net.layers, output=net.layers[-1].name, input_shape=net.input_shape)
    with pytest.raises(UserError) as error:
        compile_network(artifact, config)
    assert str(error.value) == message
