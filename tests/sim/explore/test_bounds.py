"""Every cycle has its bound."""

import numpy as np
import pytest

from hw.compiler.compile import compile_network
from hw.compiler.packets import WEIGHTS, Packet
from hw.compiler.tasks import ALL, NONE, Task
from hw.config import TOY, ZCU102
from hw.control.descriptor import Opcode
from quant.blank import blank_artifact
from quant.networks.spec import spec
from sim.cycles import model
from sim.cycles.model import Memory, Prediction, TaskTime, predict
from sim.explore.bounds import (
    BOUNDS,
    DEPTHWISE_LANES,
    LATENCY,
    LOAD,
    MAT_LANES,
    MULTIPLIERS,
    PORT,
    POST,
    RMAC_LANES,
    Step,
    bounds,
    charged,
    floors,
    hit,
    steps,
)

NETWORKS = [("digits", TOY), ("digits", ZCU102), ("b0", ZCU102), ("b1", ZCU102)]


def beats(count: int) -> Packet:
    """A packet of ``count`` beats on TOY."""
    return Packet(WEIGHTS["mat"], 2, np.zeros((count - 1, 1, TOY.beat_bytes), np.uint8))


def pw(pixels: int, depth: int, *, macs: int, joint: bool = False, packets: tuple[Packet, ...] = (), tiles: int = 1) -> Task:
    """A 1x1 product with all of TOY's four slots as pixels."""
    fields = {"px_end": pixels, "lp": 2, "tiles": tiles, "depth": depth, "joint": int(joint)}
    return Task("pw", Opcode.PW, fields, ALL, packets, macs)


FULL = pw(400, 8, joint=True, macs=400 * 32 * 8)
LOADING = Task("stem", Opcode.LOAD, {"px_end": 256, "dst_cg_end": 7, "w_in": 32, "h_in": 32, "w_out": 16}, ALL)
HALF = Task(
    "dw", Opcode.DW, {"px_end": 64, "w_out": 8, "stride": 2, "tiles": 1, "kernel": 3, "dst_cg_end": 4}, ALL, (), 64 * 16 * 9
)
POOLING = Task("pool", Opcode.POOL, {"px_end": 16, "tiles": 8}, ALL)


@pytest.mark.parametrize(
    ("tasks", "cycles", "expected"),
    [
        # 102,400 products on 128 multipliers.
        ([FULL], 820, {MULTIPLIERS: 800, LATENCY: 20}),
        # The same with a fifth of the channels padded, and then by MAT alone.
        ([pw(400, 8, joint=True, macs=81_920)], 820, {MULTIPLIERS: 640, MAT_LANES: 160, LATENCY: 20}),
        ([pw(400, 8, macs=51_200)], 820, {MULTIPLIERS: 400, MAT_LANES: 400, LATENCY: 20}),
        # Weights of a vector: 300 beats, of which only 250 cycles were left to wait for.
        ([pw(1, 8, macs=128, packets=(beats(300),))], 250, {MULTIPLIERS: 1, MAT_LANES: 7, PORT: 242}),
        ([pw(1, 8, macs=128, packets=(beats(100), beats(50)))], 250, {MULTIPLIERS: 1, MAT_LANES: 7, PORT: 142, LATENCY: 100}),
        # One input word a pixel: two results in the cycle of each beat.
        ([pw(400, 1, joint=True, macs=400 * 4 * 8)], 210, {MULTIPLIERS: 100, POST: 100, LATENCY: 10}),
        # 256 pixels of 7 words, four words a cycle; the picture itself are 192 beats of 16 bytes.
        ([LOADING], 600, {LOAD: 512, LATENCY: 88}),
        ([LOADING, pw(256, 7, macs=55_296)], 600, {MULTIPLIERS: 432, MAT_LANES: 16, LOAD: 64, LATENCY: 88}),
        # Half of the lanes at stride 2: 32 segments of 2 pixels, 9 taps each.
        ([HALF], 300, {MULTIPLIERS: 72, DEPTHWISE_LANES: 216, LATENCY: 12}),
        ([HALF, pw(64, 4, macs=64 * 64)], 300, {MULTIPLIERS: 104, DEPTHWISE_LANES: 184, LATENCY: 12}),
        # As long as MAT has more to do than R-MAC, its lanes are the bound.
        ([HALF, pw(64, 20, macs=64 * 320)], 330, {MULTIPLIERS: 232, MAT_LANES: 88, LATENCY: 10}),
        ([POOLING], 40, {RMAC_LANES: 32, LATENCY: 8}),
    ],
)
def test_what_cycles_are_charged_to(tasks, cycles, expected):
    found = charged(Step(tuple(tasks), cycles), TOY)
    assert {bound: share for bound, share in found.items() if share} == expected


def test_both_engines_of_a_joint_task_count():
    assert floors([FULL], TOY) == {MULTIPLIERS: 800, MAT_LANES: 800, POST: 200, LOAD: 0, PORT: 0}


def test_steps_begin_where_all_units_are_waited_for():
    follower = Task("pw2", Opcode.PW, {"px_end": 4, "lp": 2, "tiles": 1, "depth": 1}, NONE)
    times = [TaskTime(LOADING, 7, 50, 0), TaskTime(follower, 10, 60, 1), TaskTime(HALF, 60, 90, 9), TaskTime(FULL, 95, 120, 9)]
    found = list(steps(Prediction(tuple(times), 130, 0)))
    assert [(step.tasks, step.cycles) for step in found] == [((LOADING, follower), 60), ((HALF,), 35), ((FULL,), 35)]


@pytest.mark.parametrize(("network", "config"), NETWORKS)
def test_no_cycle_is_left_over(network, config):
    prediction = predict(compile_network(blank_artifact(spec(network)), config), Memory(60))
    found = bounds(prediction, config)
    assert tuple(found) == BOUNDS
    assert sum(found.values()) == prediction.cycles
    assert min(found.values()) >= 0
    products = prediction.macs / config.multipliers
    assert products <= found[MULTIPLIERS] <= products + len(prediction.tasks)


@pytest.mark.parametrize(("network", "config"), NETWORKS)
def test_floors_are_floors(network, config):
    """Only the port may have worked ahead."""
    for step in steps(predict(compile_network(blank_artifact(spec(network)), config), Memory(60))):
        for bound, floor in floors(step.tasks, config).items():
            assert bound == PORT or floor <= step.cycles, (step.tasks[0].layer, bound)


class _AtOnce(model.WeightStream):
    """Weights that have always been there."""

    def deliver(self, packet):
        self.rings[packet.kind].arrived += [0] * packet.rows


@pytest.mark.parametrize("l", [8, 16, 32])
def test_the_port_is_charged_what_a_port_without_end_would_save(l, monkeypatch):  # noqa: E741
    config = ZCU102.with_(l=l, h_rows=8 << 14, d_rows=1 << 14, x_rows=1 << 14, y_rows=1 << 14, o_rows=1 << 14)
    program = compile_network(blank_artifact(spec("b1")), config)
    prediction = predict(program, Memory(60))
    monkeypatch.setattr(model, "WeightStream", _AtOnce)
    saved = prediction.cycles - predict(program, Memory(60)).cycles
    assert bounds(prediction, config)[PORT] == pytest.approx(saved, rel=0.05)


def test_the_largest_is_hit_and_of_two_the_earlier():
    assert hit({MULTIPLIERS: 3, PORT: 5, LATENCY: 5}) == PORT
