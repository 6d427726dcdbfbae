"""R-MAC's depthwise loop nest alone: taps, pixels outside the map, folded channel groups, and lanes that are prepared."""

from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.compiler.tasks import Task
from hw.config import TOY, AcceleratorConfig
from hw.control.descriptor import Opcode
from hw.engines.dw_sequencer import DwSequencer
from hw.timing import START
from tests.hw.engines.walk import EIGHT, descriptor, rmac_needs, walk
from tests.hw.units.drive import plain, simulate

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


@pytest.mark.parametrize(("groups", "fold", "rows"), [(3, 0, 3), (4, 0, 4), (6, 0, 6), (2, 1, 2), (1, 1, 2), (1, 2, 1)])
def test_results_wait_for_the_parameters_of_each_channel_group(groups, fold, rows):
    """With one row less it never ends. What is folded has as many as a chunk has room for."""
    task, needs = depthwise(3, 1, 3, 5, groups, TOY, fold), rmac_needs(TOY)
    beats, _, _ = walk(DwSequencer(TOY), task, TOY, needs=needs | {"params": rows})
    assert len(beats) == task.beats(TOY)
    with pytest.raises(AssertionError, match="no end"):
        walk(DwSequencer(TOY), task, TOY, needs=needs | {"params": rows - 1})
