"""What the engines are made of, each alone: multipliers, queue, loop nests."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from amaranth import Const, ResetInserter, Signal
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.compiler.tasks import Task
from hw.config import TOY, AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Act, Buffer, Opcode
from hw.engines.dw_sequencer import DwSequencer
from hw.engines.head_sequencer import HeadSequencer
from hw.engines.mac_block import FIELD_BITS, OWN_BITS, MacBlock
from hw.engines.mat_sequencer import MatSequencer
from hw.engines.result_queue import ResultQueue
from hw.timing import START
from quant.contract import ACC_BITS
from tests.hw.units.drive import plain, simulate, stream_through
from tests.support.tamper import constant, tampered

EIGHT = TOY.with_(name="eight", l=8)


#: Operands whose products reach the ends of their fields, and those between which the lower field borrows and does not.
EXTREMES = (-128, -127, -1, 0, 1, 127)


def mac_vectors(
    lanes: int, inputs: int, operands: Iterator[tuple[Any, Any]], *, own: bool = True, seed: int = 1
) -> tuple[list[dict[str, Any]], list[list], list[list | None]]:
    """Beats of a block, some of which do not count, and what its accumulators then hold: sums of up to 25 beats.

    With ``own`` every sum is of either kind at random, and one of single products may come amid the beats of a tree's. What the
    trees leave in the own accumulators is of no meaning, None.
    """
    rng = np.random.default_rng(seed)
    sums: dict[bool, Any] = {False: np.zeros(lanes, np.int64), True: np.zeros((lanes, inputs), np.int64)}
    vectors, trees, owns = [], [], []
    left, kind, known = {False: 0, True: 0}, False, True
    for shared, private in operands:
        valid = bool(rng.random() < 0.8)
        if own and left[True] == 0:
            kind = bool(rng.random() < 0.5 if left[False] == 0 else rng.random() < 0.1)
        first = left[kind] == 0
        shared, private = np.broadcast_to(shared, inputs), np.broadcast_to(private, (lanes, inputs))
        vector = {"shared": shared.tolist(), "private": private.tolist(), "valid": valid, "first": first}
        vectors.append(vector | ({"own_beat": kind} if own else {}))
        if valid:
            products = shared * private
            sums[kind] = (products if kind else products.sum(axis=1)) + (0 if first else sums[kind])
            left[kind] = int(rng.integers(0, 25)) if first else left[kind] - 1
            known = kind
        # A sum stays until the next one comes.
        trees.append(sums[False].tolist())
        owns.append(sums[True].tolist() if known else None)
    return vectors, trees, owns


def random_operands(lanes: int, inputs: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """First weights and activations, then the other way round, as in DW mode."""
    rng = np.random.default_rng(2)
    for beat in range(300):
        low = (-128, -127) if beat % 2 else (-127, -128)
        yield rng.integers(low[0], 128, inputs), rng.integers(low[1], 128, (lanes, inputs))


def extreme_operands(lanes: int, inputs: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of extremes in both fields at once beside every shared one, all inputs alike; but no eight squares of -128."""
    for even in EXTREMES:
        for odd in EXTREMES:
            for shared in EXTREMES:
                private = np.tile([[even], [odd]], (lanes // 2, inputs))
                if shared == -128:
                    private[:, -1] = np.maximum(private[:, -1], -127)
                yield np.full(inputs, shared), private


def block_errors(
    size: int, operands: Callable[..., Iterator[tuple[Any, Any]]], own_block: type[MacBlock] = MacBlock
) -> list[str]:
    """Which outputs are wrong, of a block of either kind."""
    plain_vectors, plain_trees, _ = mac_vectors(size, size, operands(size, size), own=False)
    vectors, trees, owns = mac_vectors(size, size, operands(size, size))
    outputs = {
        "packed acc": (False, "acc", plain_vectors, plain_trees),
        "acc": (True, "acc", vectors, trees),
        "own_acc": (True, "own_acc", vectors, owns),
    }
    wrong = []
    for label, (own, name, beats, expected) in outputs.items():
        dut = own_block(size, size, own=True) if own else MacBlock(size, size)
        got = stream_through(dut, dut.own_latency if name == "own_acc" else dut.tree_latency, beats, [name])
        if any(sums is not None and out[name] != sums for out, sums in zip(got, expected, strict=True)):
            wrong.append(label)
    return wrong


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("operands", [random_operands, extreme_operands])
def test_mac_block_sums_trees_and_products(size: int, operands: Any):
    assert block_errors(size, operands) == []


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_packed_products_are_those_of_two_multipliers(draws: st.DataObject):
    """Any weights and activations, the ends of their ranges above all."""
    weights, activations = (
        st.one_of(st.sampled_from((low, low + 1, -1, 0, 1, 126, 127)), st.integers(low, 127)) for low in (-127, -128)
    )
    depthwise = draws.draw(st.booleans())
    shared, private = (weights, activations) if depthwise else (activations, weights)
    beats = draws.draw(
        st.lists(
            st.tuples(st.lists(shared, min_size=8, max_size=8), st.lists(private, min_size=16, max_size=16)),
            min_size=1,
            max_size=12,
        )
    )
    operands = [(np.array(one), np.tile(np.array(two).reshape(2, 8), (4, 1))) for one, two in beats]
    assert block_errors(8, lambda lanes, inputs: iter(operands)) == []


#: What is wrong with the packing, and the outputs that must show it.
PACKING_BUGS: dict[str, tuple[str, Any, list[str]]] = {
    "upper field without its borrow": ("borrow", lambda packed: Const(0), ["packed acc", "acc", "own_acc"]),
    "upper field always with a borrow": ("borrow", lambda packed: Const(1), ["packed acc", "acc", "own_acc"]),
    # A single product leaves bits of sign above it, and a tree of them is as wide as the field, so that its sums have their sign.
    "borrow taken a bit too low": ("borrow", lambda packed: packed[FIELD_BITS - 2], ["packed acc"]),
    "lower field without a sign": ("lower_field", lambda packed: packed[:FIELD_BITS], ["packed acc", "own_acc"]),
    "lower field cut short": ("lower_field", lambda packed: packed[: FIELD_BITS - 1].as_signed(), ["packed acc"]),
    "fields too close for eight products": ("FIELD_BITS", FIELD_BITS - 1, ["packed acc", "acc"]),
    "fields too close for a product": ("FIELD_BITS", 15, ["packed acc", "acc", "own_acc"]),
}


@pytest.mark.parametrize("bug", PACKING_BUGS)
def test_a_planted_packing_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    name, false, wrong = PACKING_BUGS[bug]
    monkeypatch.setattr(f"hw.engines.mac_block.{name}", false)
    assert block_errors(8, extreme_operands) == wrong


@pytest.mark.parametrize(("always", "wrong"), [(False, ["acc", "own_acc"]), (True, ["acc"])])
def test_a_block_that_does_not_know_its_mode_is_found(always: bool, wrong: list[str]):
    assert block_errors(4, random_operands, tampered(MacBlock, own_beat=constant(always))) == wrong


def test_eight_squares_of_the_least_number_are_what_does_not_fit():
    """What the docstring says that no task has: everything else fits."""
    dut, worst = MacBlock(2, 8), [-128] * 8
    beat = {"shared": worst, "private": [worst, [0] * 8], "valid": 1, "first": 1}
    assert stream_through(dut, dut.tree_latency, [beat], ["acc"]) == [{"acc": [-(2**17), 1]}]


@pytest.mark.parametrize(("lanes", "inputs"), [(3, 4), (4, 16)])
def test_lanes_come_in_pairs_of_few_inputs(lanes: int, inputs: int):
    dut = MacBlock.__new__(MacBlock)
    dut._MustUse__silence = True
    with pytest.raises(ValueError, match="lanes come in pairs"):
        dut.__init__(lanes, inputs)


def test_accumulators_are_as_wide_as_they_must():
    assert 1 << (OWN_BITS - 2) <= 25 * 128 * 128 < 1 << (OWN_BITS - 1) and OWN_BITS < ACC_BITS


def test_result_queue_keeps_order_and_credits():
    rng = random.Random(2)
    dut = ResultQueue(TOY, 2)
    depth = TOY.result_depth
    issued: list[int] = []
    pushed: list[int] = []
    popped: list[int] = []
    seen = {"full": 0, "idle": 0}

    async def testbench(ctx: Any) -> None:
        number = retired = 0
        assert ctx.get(dut.space) == depth and ctx.get(dut.idle)
        for cycle in range(600):
            slow = cycle % 200 < 100
            space = ctx.get(dut.space)
            # Credits: what is reserved and not popped yet.
            assert space == depth - (number - len(popped))
            assert bool(ctx.get(dut.idle)) == (number == retired)
            seen["full"] += space == 0
            seen["idle"] += number == retired
            issue = min(space, rng.randrange(3)) if cycle < 550 else 0
            issued.extend(range(number, number + issue))
            push = len(pushed) < len(issued) - issue and rng.random() < 0.7
            ctx.set(dut.issue, issue)
            ctx.set(dut.push, push)
            ctx.set(dut.payload, {"px": len(pushed), "mask": 1})
            ctx.set(dut.o.ready, rng.random() < (0.2 if slow else 0.9))
            retire = retired < len(popped) and rng.random() < 0.8
            ctx.set(dut.retired, retire)
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                popped.append(ctx.get(dut.o.payload.px))
            await ctx.tick()
            number += issue
            retired += retire
            if push:
                pushed.append(len(pushed))

    simulate(dut, testbench)
    assert popped == list(range(len(popped))) and len(popped) > 100
    assert all(count > 5 for count in seen.values()), seen


def descriptor(task: Task) -> Any:
    """The task as the engines see it."""
    enums = {"opcode": task.opcode, "src": Buffer.X, "dst": Buffer.D, "dst2": Buffer.X, "res_src": Buffer.X, "act": Act.NONE}
    return DESCRIPTOR.const({name: value for name, value in task.fields.items() if name not in enums} | enums)


def walk(
    dut: Any,
    task: Task,
    config: AcceleratorConfig,
    *,
    needs: dict[str, int],
    stall: float = 0.0,
    before: Task | None = None,
    waited: int = 0,
    behind: int = 1 << 20,
) -> tuple[list[dict], int, int]:
    """All beats of a task, the results that it issued and the cycles that it took; ``needs`` stay away in some cycles.

    It starts as soon as the one ``before`` has ended. A DW is pending in ``waited`` cycles before its dispatch, and from the
    cycle ``behind`` of another one's on.
    """
    rng, beats = random.Random(3), []
    totals = {"issued": 0, "cycles": 0}

    async def testbench(ctx: Any) -> None:
        def pending(coming: Task | None) -> None:
            if isinstance(dut, DwSequencer):
                ctx.set(dut.pending, coming is not None)
                # Whatever comes when none is pending.
                ctx.set(dut.coming, descriptor(coming) if coming else DESCRIPTOR.const({"src_fold": 3, "w_out": 77}))

        for one in [task] if before is None else [before, task]:
            beats.clear()
            pending(one)
            for _ in range(waited + 1 if isinstance(dut, DwSequencer) else 0):
                await ctx.tick()
            pending(None)
            totals.update(issued=0, cycles=0)
            ctx.set(dut.task, descriptor(one))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while ctx.get(dut.busy) or ctx.get(dut.beat_valid):
                if one is before and totals["cycles"] == behind:
                    pending(task)
                for name, value in needs.items():
                    ctx.set(getattr(dut, name), 0 if rng.random() < stall else value)
                if ctx.get(dut.beat_valid):
                    beat = ctx.get(dut.beat)
                    beats.append({name: plain(beat[name]) for name in dut.beat.shape().members})
                totals["issued"] += ctx.get(dut.issue)
                await ctx.tick()
                totals["cycles"] += 1
                assert totals["cycles"] < 2000, "no end"

    simulate(dut, testbench)
    return beats, totals["issued"], totals["cycles"]


def mat_needs(config: AcceleratorConfig) -> dict[str, int]:
    return {"weights": config.weight_rows, "params": config.param_rows, "ready": 1, "ln_done": 1, "progress": 0xFFFF}


def rmac_needs(config: AcceleratorConfig) -> dict[str, int]:
    return {"weights": config.weight_rows, "params": config.param_rows, "space": config.result_depth}


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
        # The fifth word is the first one of the second row of parameters.
        ("params", 2, Task("ln", Opcode.LN, {"px_end": 1, "tiles": 1, "depth": 5, "count": 20})),
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


DW_TASKS = [
    # Kernel, stride, height, width, channel groups.
    (3, 1, 3, 5, 2),
    (5, 1, 4, 3, 5),
    (3, 1, 1, 1, 1),
    (3, 2, 5, 7, 2),
    (5, 2, 3, 4, 1),
    (5, 2, 2, 1, 4),
    (3, 1, 2, 9, 3),
]


@pytest.mark.parametrize("config", [TOY, EIGHT], ids=lambda config: config.name)
@pytest.mark.parametrize(("kernel", "stride", "height", "width", "groups"), DW_TASKS)
def test_depthwise_beats_read_every_tap_of_every_pixel(kernel, stride, height, width, groups, config):
    """Each output pixel of each channel group meets its kernel's taps once, from the pixel under them or from outside the map."""
    check_depthwise_beats(kernel, stride, height, width, groups, config, 0)


@pytest.mark.parametrize("config", [TOY, EIGHT], ids=lambda config: config.name)
@pytest.mark.parametrize(
    ("kernel", "height", "width", "groups", "fold"),
    [(3, 5, 7, 1, 1), (3, 6, 9, 2, 1), (5, 7, 9, 1, 2), (3, 3, 20, 1, 2), (3, 9, 1, 1, 1)],
)
def test_depthwise_beats_of_folded_channel_groups(kernel, height, width, groups, fold, config):
    """The same, chunk by chunk."""
    check_depthwise_beats(kernel, 1, height, width, groups, config, fold)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_depthwise_beats_of_any_map(draws: st.DataObject):
    """Any size at which a row or the map may end, any rows of the map, without a pause behind any other task."""
    tasks = []
    for pixels in (12, 60):
        stride = draws.draw(st.integers(1, 2))
        height, width = draws.draw(st.integers(1, 12)), draws.draw(st.integers(1, 24))
        first = draws.draw(st.integers(0, -(-height // stride) - 1))
        end = draws.draw(st.integers(first + 1, min(-(-height // stride), first + 1 + pixels // width)))
        fold = draws.draw(st.integers(0, 2)) if stride == 1 else 0
        kernel, groups = draws.draw(st.sampled_from((3, 5))), draws.draw(st.integers(1, TOY.wide >> fold if fold else 5))
        tasks.append(((kernel, stride, height, width, groups), fold, (first, end)))
    (before, before_fold, before_rows), (after, fold, rows) = tasks
    stall = draws.draw(st.sampled_from((0.0, 0.3)))
    # Lanes are prepared at the last moment, before, or amid the beats of the other task.
    pending = {"waited": draws.draw(st.integers(0, 20)), "behind": draws.draw(st.integers(0, 200))}
    check_depthwise_beats(*after, TOY, fold, rows, stall, depthwise(*before, TOY, before_fold, before_rows), **pending)


def depthwise(kernel, stride, height, width, groups, config, fold, rows=None):
    """A task over some rows of its output map."""
    out_w = -(-width // stride)
    first, end = rows or (0, -(-height // stride))
    return Task(
        "dw",
        Opcode.DW,
        {
            "px_start": first * out_w,
            "px_end": end * out_w,
            "y_start": first,
            "px_in": first * stride * width,
            "tiles": -(-groups // config.wide),
            "dst_cg_end": groups,
            "kernel": kernel,
            "stride": stride,
            "h_in": height,
            "w_in": width,
            "w_out": out_w,
            "step_y": (config.l << fold) // out_w,
            "step_x": (config.l << fold) % out_w,
            "src_fold": fold,
        },
    )


def check_depthwise_beats(
    kernel, stride, height, width, groups, config, fold, rows=None, stall=0.3, before=None, **pending
):
    out_h, out_w = -(-height // stride), -(-width // stride)
    first_row, end_row = rows or (0, out_h)
    task, share = depthwise(kernel, stride, height, width, groups, config, fold, rows), config.wide >> fold
    needs = rmac_needs(config)
    beats, issued, _ = walk(DwSequencer(config), task, config, needs=needs, stall=stall, before=before, **pending)
    assert len(beats) == task.beats(config) and issued == task.results(config)
    met: dict[tuple[int, int], list] = {}
    tap = {}
    for beat in beats:
        first = (beat["out_px"], beat["src_cg"])
        tap[first] = 0 if beat["first"] else tap[first] + 1
        rows = -(-kernel * kernel // (config.t - 1))
        assert (
            beat["offset"] == beat["src_cg"] // config.wide * rows + tap[first] // (config.t - 1)
            and beat["lane"] == tap[first] % (config.t - 1)
        )
        for pixel in range(config.l << fold):
            chunk, lane = divmod(pixel, config.l)
            assert len({beat["outside"][chunk * share + group] for group in range(share)}) == 1
            if beat["mask"][chunk] >> lane & 1:
                # At stride 2 a lane takes every second word of what was read.
                source = None if beat["outside"][chunk * share] >> lane & 1 else beat["px"] + pixel * stride
                met.setdefault((beat["out_px"] + pixel, beat["src_cg"]), []).append(source)
    expected = {}
    for y in range(first_row, end_row):
        for x in range(out_w):
            taps = [
                (y * stride + dy - kernel // 2, x * stride + dx - kernel // 2) for dy in range(kernel) for dx in range(kernel)
            ]
            sources = [v * width + u if 0 <= v < height and 0 <= u < width else None for v, u in taps]
            expected |= {(y * out_w + x, cg): sources for cg in range(0, groups, config.wide)}
    assert met == expected
    assert max(beat["progress"] for beat in beats) == end_row * out_w and [beat for beat in beats if beat["last"]][-1]["seg_last"]


def beats_behind(tasks: list[Task], config: AcceleratorConfig, pending: list[int], dispatched: list[int]) -> list[list[int]]:
    """Cycles in which each depthwise task's beats are issued; cycles in which each is pending first, and is dispatched."""
    dut, issued = DwSequencer(config), [[] for _ in tasks]

    async def testbench(ctx: Any) -> None:
        for name, value in rmac_needs(config).items():
            ctx.set(getattr(dut, name), value)
        current = -1
        for cycle in range(dispatched[-1] + 400):
            waits = [task for task, first, last in zip(tasks, pending, dispatched, strict=True) if first <= cycle <= last]
            ctx.set(dut.pending, len(waits))
            if waits:
                ctx.set(dut.coming, descriptor(waits[0]))
            ctx.set(dut.start, cycle - 1 in dispatched)
            if cycle - 1 in dispatched:
                current += 1
                ctx.set(dut.task, descriptor(tasks[current]))
            if ctx.get(dut.beat_valid):
                issued[current].append(cycle - 1)
            await ctx.tick()

    simulate(dut, testbench)
    return issued


@pytest.mark.parametrize("fold", [0, 2])
@pytest.mark.parametrize("config", [TOY, EIGHT], ids=lambda config: config.name)
def test_depthwise_begins_like_others_when_it_has_waited_for_its_lanes(config, fold):
    """One that waits for long, for a cycle too short a time, and not at all; behind none and behind another one's last beat."""
    setup = DwSequencer.setup_cycles(config, fold)
    assert setup == config.l << fold
    tasks = [depthwise(3, 1, 3, 5, 1, config, fold), depthwise(5, 1, 5, 4, 1, config, fold)]
    for waited in (0, 1, setup - 1, setup, setup + 1, 100):
        (first,) = beats_behind(tasks[:1], config, [5], [5 + waited])
        assert first[0] == 5 + waited + START + max(0, setup - waited) and len(first) == tasks[0].beats(config)
        # The second one is pending all the time, and is dispatched so many cycles after the lanes are free.
        free = first[-1] + 1
        (_, second) = beats_behind(tasks, config, [5, 5 + waited + 1], [5 + waited, free + 1 + waited])
        assert second[0] == free + 1 + waited + START + max(0, setup - 1 - waited) and len(second) == tasks[1].beats(config)


@pytest.mark.parametrize("waited", [1, 3, 30])
def test_a_reset_leaves_no_depthwise_task_prepared(waited):
    """The lanes of a task that waited when the program was given up are not those of the next program's."""
    config, reset, beats = TOY, Signal(), []
    given_up, task = depthwise(5, 1, 5, 9, 1, config, 1), depthwise(3, 1, 3, 5, 2, config, 0)
    dut = DwSequencer(config)

    async def testbench(ctx: Any) -> None:
        for name, value in rmac_needs(config).items():
            ctx.set(getattr(dut, name), value)
        for one, cycles in ((given_up, waited), (task, 1)):
            ctx.set(dut.coming, descriptor(one))
            ctx.set(dut.pending, 1)
            await ctx.tick().repeat(cycles)
            ctx.set(dut.pending, 0)
            if one is given_up:
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
        ctx.set(dut.task, descriptor(task))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while ctx.get(dut.busy) or ctx.get(dut.beat_valid):
            if ctx.get(dut.beat_valid):
                beats.append({name: plain(ctx.get(dut.beat[name])) for name in ("px", "outside", "mask")})
            await ctx.tick()

    simulate(ResetInserter(reset)(dut), testbench)
    expected, _, _ = walk(DwSequencer(config), task, config, needs=rmac_needs(config))
    assert beats == [{name: beat[name] for name in ("px", "outside", "mask")} for beat in expected]


@pytest.mark.parametrize("config", [TOY, EIGHT], ids=lambda config: config.name)
@pytest.mark.parametrize(("heads", "tiles", "pixels"), [(3, 2, 10), (1, 1, 1), (2, 1, 8)])
def test_heads_are_walked_group_by_group(heads, tiles, pixels, config):
    step = 3 * tiles
    task = Task(
        "ktv",
        Opcode.KTV,
        {"px_end": pixels, "heads": heads, "tiles": tiles, "src_step": step, "src_cg": tiles, "v_cg": 2 * tiles},
    )
    needs = {name: value for name, value in rmac_needs(config).items() if name != "weights"}
    beats, issued, cycles = walk(HeadSequencer(config), task, config, needs=needs)
    got = [tuple(beat[name] for name in ("k_cg", "v_cg", "px", "k", "v", "entry", "row_sum")) for beat in beats]
    assert got == [
        (head * step + tiles + k, head * step + 2 * tiles + v, px, head * tiles + k, v, 2 * head, int(v == 0))
        for head in range(heads)
        for k in range(tiles)
        for v in range(tiles)
        for px in range(0, pixels, config.l)
    ]
    assert issued == task.results(config)
    # A pause follows each pass with two results, but nobody waits for the last one.
    assert cycles - 1 <= task.beats(config) <= cycles + 1


@pytest.mark.parametrize(("groups", "pixels"), [(6, 10), (1, 1), (9, 4)])
def test_pooling_is_walked_group_by_group(groups, pixels):
    task = Task("pool", Opcode.POOL, {"px_end": pixels, "tiles": groups, "src_cg": 2})
    needs = {name: value for name, value in rmac_needs(TOY).items() if name != "weights"}
    beats, issued, _ = walk(HeadSequencer(TOY), task, TOY, needs=needs, stall=0.4)
    got = [tuple(beat[name] for name in ("k_cg", "px", "cg", "entry", "mask")) for beat in beats]
    assert got == [(2 + cg, px, cg // 4 * 4, cg // 4, 1 << cg % 4) for cg in range(groups) for px in range(0, pixels, 4)]
    assert len(beats) == task.beats(TOY) and issued == task.results(TOY)
    assert [beat["lanes"] for beat in beats if beat["last"]] == [(1 << (pixels - 1) % 4 + 1) - 1] * groups
