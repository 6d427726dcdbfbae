"""MAT's loop nests alone: products, LayerNorm, and what they wait for."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.compiler.tasks import Task
from hw.config import TOY, AcceleratorConfig
from hw.control.descriptor import Opcode
from hw.engines.mat_sequencer import MatSequencer
from tests.hw.engines.walk import EIGHT, mat_needs, walk

MAT_TASKS = [
    Task("a", Opcode.PW, {"px_end": 7, "lp": 1, "tiles": 3, "depth": 2, "src_cg": 5, "dst_cg": 1}),
    Task("b", Opcode.PW, {"px_start": 2, "px_end": 9, "lp": 2, "tiles": 3, "depth": 2, "pixel_outer": 1, "gated": 1}),
    Task("c", Opcode.PW, {"px_start": 3, "px_end": 4, "lp": 0, "tiles": 1, "depth": 1, "joint": 1}),
    Task("d", Opcode.PW, {"px_end": 6, "lp": 1, "tiles": 4, "depth": 3, "src_step": 3, "pixel_outer": 1}),
    Task("e", Opcode.QZ, {"px_end": 9, "lp": 1, "tiles": 3, "depth": 2, "src_step": 6, "use_code": 1}),
    Task("f", Opcode.DIV, {"px_end": 9, "lp": 2, "tiles": 3, "depth": 2, "src_step": 6}),
]


def mat_beats(task: Task, config: AcceleratorConfig) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Pixel, channel group read, weight row, entry, channel group written, mask: the loop nest as docs/architecture.md has it."""
    lp, joint = 1 << task.get("lp"), task.get("joint")
    tiles, depth = range(task.get("tiles")), task.get("depth")
    starts = range(task.get("px_start"), task.get("px_end"), lp)
    resident = task.get("pixel_outer") or task.opcode is not Opcode.PW
    order = (
        [(px, tile) for px in starts for tile in tiles]
        if task.get("pixel_outer")
        else [(px, tile) for tile in tiles for px in starts]
    )
    for px, tile in order:
        mask = sum((px + i % lp < task.get("px_end")) << i for i in range(config.l))
        cg = task.get("dst_cg") + tile * (config.l // lp << joint)
        for k in range(depth):
            yield px, task.get("src_cg") + tile * task.get("src_step") + k, (tile * depth if resident else 0) + k, tile, cg, mask


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("config", [TOY, EIGHT], ids=lambda config: config.name)
@pytest.mark.parametrize("task", MAT_TASKS, ids=lambda task: task.layer)
def test_mat_walks_pixels_tiles_and_words(task: Task, config: AcceleratorConfig, stall: float):
    beats, issued, cycles = walk(MatSequencer(config), task, config, needs=mat_needs(config), stall=stall)
    got = [tuple(beat[name] for name in ("px", "src_cg", "offset", "entry", "cg", "mask")) for beat in beats]
    assert got == list(mat_beats(task, config))
    assert len(beats) == task.beats(config) and issued == task.results(config)
    assert [beat["last"] for beat in beats] == [beat["k"] == task.get("depth") - 1 for beat in beats]
    assert [beat["first"] for beat in beats] == [beat["k"] == 0 for beat in beats]
    assert (cycles > len(beats) + 1) == (stall > 0)


def check_layer_norm(vectors: int, depth: int, stall: float, px_start: int = 0) -> None:
    """Every word of every vector is summed, then normalized; both words lie where the beat's read has them."""
    place = {"px_start": px_start, "px_end": px_start + vectors, "src_cg": 3, "dst_cg": 5}
    task = Task("ln", Opcode.LN, {**place, "tiles": 1, "depth": depth, "count": depth * TOY.m})
    before = Task("pw", Opcode.PW, {"px_end": 9, "lp": 1, "tiles": 2, "depth": 3})
    beats, issued, _ = walk(MatSequencer(TOY), task, TOY, needs=mat_needs(TOY), stall=stall, before=before)
    assert len(beats) == task.beats(TOY) and issued == task.results(TOY) == vectors * depth
    words = [(px_start + vector, k) for vector in range(vectors) for k in range(depth)]
    assert [(beat["px"] + 2 * beat["second"], beat["k"]) for beat in beats if beat["sums"]] == words
    normalized = [beat for beat in beats if beat["second"]]
    assert [(beat["px"], beat["k"]) for beat in normalized] == words
    # A result is a word in slot 0, which has its own parameters.
    assert [(beat["entry"], beat["mask"], beat["cg"], beat["offset"]) for beat in normalized] == [
        (k, 1, 5 + k, k // TOY.l) for _, k in words
    ]
    assert all(beat["src_cg"] == 3 + beat["k"] and beat["first"] == (beat["k"] == 0) for beat in beats)
    # A vector's second pass begins when another phase has ended behind its first one.
    ends = [index for index, beat in enumerate(beats) if beat["last"]]
    assert len(ends) == vectors + 2 and ends[-1] == len(beats) - 1
    for vector in range(vectors):
        first = next(index for index, beat in enumerate(beats) if beat["second"] and beat["px"] == px_start + vector)
        assert first == ends[vector + 1] + 1 and [beats[ends[vector]][name] for name in ("sums", "k")] == [1, depth - 1]


@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 9])
def test_layer_norm_is_streamed_twice(vectors: int):
    check_layer_norm(vectors, 7, 0.4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 9), st.sampled_from((0.0, 0.3)), st.integers(0, 5))
def test_layer_norm_of_any_vectors(vectors: int, depth: int, stall: float, px_start: int):
    check_layer_norm(vectors, depth, stall, px_start)


@pytest.mark.parametrize(
    ("name", "least", "task"),
    [
        # Tile 1's second word is row 1 of what is left of the ring; its result needs the second row of parameters.
        ("weights", 2, Task("pw", Opcode.PW, {"px_end": 4, "lp": 2, "tiles": 1, "depth": 2})),
        ("params", 2, Task("pw", Opcode.PW, {"px_end": 4, "lp": 2, "tiles": 2, "depth": 1})),
        ("ready", 1, Task("pw", Opcode.PW, {"px_end": 4, "lp": 2, "tiles": 1, "depth": 1})),
        ("progress", 7, Task("pw", Opcode.PW, {"px_end": 7, "lp": 2, "tiles": 1, "depth": 1, "gated": 1, "pixel_outer": 1})),
        ("ln_done", 1, Task("ln", Opcode.LN, {"px_end": 1, "tiles": 1, "depth": 2, "count": 8})),
        # The third word is the first one of the second row of parameters, the fifth one the first of the third.
        ("params", 2, Task("ln", Opcode.LN, {"px_end": 1, "tiles": 1, "depth": 4, "count": 16})),
        ("params", 3, Task("ln", Opcode.LN, {"px_end": 1, "tiles": 1, "depth": 5, "count": 20})),
    ],
)
def test_mat_waits_for_what_it_needs(name: str, least: int, task: Task):
    """With one less than needed it never ends; with as much as is needed it does."""
    needs = mat_needs(TOY)
    beats, _, _ = walk(MatSequencer(TOY), task, TOY, needs=needs | {name: least})
    assert len(beats) == task.beats(TOY)
    with pytest.raises(AssertionError, match="no end"):
        walk(MatSequencer(TOY), task, TOY, needs=needs | {name: least - 1})


@pytest.mark.parametrize(("name", "least"), [("begun", 7), ("begun_groups", 5)])
def test_mat_reads_words_of_a_segment_under_way(name: str, least: int):
    """Pixels that are not complete are read as far as their channel groups are: the last word is that of channel group 4."""
    task = Task("pw", Opcode.PW, {"px_end": 7, "lp": 2, "tiles": 1, "depth": 2, "src_cg": 3, "gated": 1, "pixel_outer": 1})
    needs = mat_needs(TOY) | {"progress": 0, "begun": 7, "begun_groups": 5}
    beats, _, _ = walk(MatSequencer(TOY), task, TOY, needs=needs)
    assert len(beats) == task.beats(TOY)
    with pytest.raises(AssertionError, match="no end"):
        walk(MatSequencer(TOY), task, TOY, needs=needs | {name: least - 1})
