"""LayerNorm tasks of several vectors through MAT alone, against the golden model and the cycle model."""

import random
from collections import deque
from typing import Any

import numpy as np
import pytest
from amaranth.lib import data
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.compiler.compile import compile_network
from hw.compiler.packets import PARAMS, WEIGHTS
from hw.config import TOY, AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Opcode
from hw.engines import mat
from hw.engines.mat import MatEngine
from hw.engines.mat_sequencer import MatSequencer
from hw.memory.reader import Reader
from hw.memory.row_ring import RowRing
from hw.timing import QUEUE, Timing
from hw.units.layer_norm import LayerNormCore
from sim.cycles.model import predict
from sim.golden.layernorm import layernorm
from tests.hw.units.drive import plain, simulate
from tests.support.networks import NetworkBuilder
from tests.support.tamper import constant, plus, tampered, with_field

DEEP = TOY.with_(name="deep-queue", result_depth=32)


def run_task(config: AcceleratorConfig, vectors: int, count: int, stall: float = 0.0, seed: int = 1) -> tuple[int, int]:
    """Cycles that a compiled network's LayerNorm task takes, and those foretold; every result must be the golden model's.

    Rows enter the rings, and results leave the queue, in some cycles only.
    """
    net = NetworkBuilder(seed, 4, 6)
    net.head(net.stem(3), 5, count, 2)
    program = compile_network(net.artifact(), config, vectors)
    (time,) = [time for time in predict(program).tasks if time.task.opcode is Opcode.LN]
    task = time.task
    rows = {packet.kind: packet.rows for packet in task.packets}
    rng, values = random.Random(seed), np.random.default_rng(seed)
    spreads = values.choice([1, 3, 40, 128], vectors)
    words = np.stack([values.integers(-spread, spread, task.get("depth") * config.m) for spread in spreads])
    gamma = net.artifact().layer(task.layer).arrays["gamma"]
    expected = np.zeros(words.shape, np.int64)
    expected[:, :count] = layernorm(words[:, :count].astype(np.int8), gamma)
    gammas = next(packet for packet in task.packets if packet.kind == WEIGHTS["mat"]).payload.view(np.int8)
    gammas = gammas.reshape(rows[WEIGHTS["mat"]], config.l, config.n, config.m).tolist()

    dut = MatEngine(config, Reader.latency)
    found = np.full(words.shape, 1 << 40)
    cycles = 0

    def word(px: int, cg: int) -> list[int]:
        at = slice(cg * config.m, (cg + 1) * config.m)
        return (words[px, at] if px < vectors else values.integers(-128, 128, config.m)).tolist()

    async def testbench(ctx: Any) -> None:
        nonlocal cycles
        read: deque[Any] = deque([None] * Reader.latency)
        rings: deque[Any] = deque([None] * RowRing.latency)
        retiring: deque[bool] = deque([False] * (Timing.of(config).written - QUEUE))
        arrived, freed = dict.fromkeys(rows, 0), dict.fromkeys(rows, 0)
        ctx.set(dut.task, DESCRIPTOR.from_bits(int.from_bytes(task.descriptor(), "little")))
        ctx.set(dut.start, 1)
        while cycles == 0 or ctx.get(dut.busy):
            for kind, total in rows.items():
                arrived[kind] = total if not stall else min(total, arrived[kind] + (rng.random() < 0.1))
            ctx.set(dut.weights.filled, arrived[WEIGHTS["mat"]] - freed[WEIGHTS["mat"]])
            ctx.set(dut.params_filled, arrived[PARAMS["mat"]] - freed[PARAMS["mat"]])
            ctx.set(dut.result.ready, rng.random() >= stall)
            if (asked := read.popleft()) is not None:
                for slot in range(config.l):
                    ctx.set(dut.read.data[slot], word(asked[0] + slot, asked[1]))
            if (row := rings.popleft()) is not None:
                ctx.set(dut.weights.row, gammas[row % len(gammas)])
            read.append((ctx.get(dut.read.px), ctx.get(dut.read.cg) - task.get("src_cg")) if ctx.get(dut.read.valid) else None)
            rings.append(ctx.get(dut.weights.offset) if ctx.get(dut.weights.en) else None)
            ctx.set(dut.retired, retiring.popleft())
            retiring.append(taken := bool(ctx.get(dut.result.valid) and ctx.get(dut.result.ready)))
            if taken:
                result = ctx.get(dut.result.payload)
                px, cg = result.px, result.cg - task.get("dst_cg")
                assert (result.mask, result.entry) == (1, cg)
                assert px < vectors
                at = slice(cg * config.m, (cg + 1) * config.m)
                assert (found[px, at] == 1 << 40).all(), "a word came twice"
                found[px, at] = plain(result.acc[0])
            freed[WEIGHTS["mat"]] += ctx.get(dut.weights.free)
            freed[PARAMS["mat"]] += ctx.get(dut.params_free)
            await ctx.tick()
            ctx.set(dut.start, 0)
            cycles += 1
            assert cycles < 6000, "no end"
        await ctx.tick()
        assert freed == rows, "rows were not given back"

    simulate(dut, testbench)
    assert found.tolist() == expected.tolist()
    return cycles, time.end - time.start


@pytest.mark.parametrize("config", [TOY, DEEP], ids=lambda config: config.name)
@pytest.mark.parametrize(("vectors", "count"), [(1, 3), (1, 90), (2, 13), (3, 128), (7, 30)])
def test_vectors_take_as_long_as_foretold(config: AcceleratorConfig, vectors: int, count: int):
    """More vectors than a row has places for, a word each, and more than the queue holds."""
    took, foretold = run_task(config, vectors, count)
    assert took == foretold


def test_a_vector_takes_as_long_as_its_words():
    """Behind the first ones: the deviation is computed beside other vectors' passes."""
    few, many = (run_task(DEEP, vectors, 384)[0] for vectors in (2, 5))
    assert many - few == 3 * 96


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 6), st.integers(1, 60), st.sampled_from((0.0, 0.3, 0.8)), st.integers(0, 1 << 16))
def test_any_vectors_whatever_is_waited_for(vectors: int, count: int, stall: float, seed: int):
    took, foretold = run_task(TOY, vectors, count, stall, seed)
    assert took >= foretold if stall else took == foretold


BUGS = {
    "deviation not waited for": ("MatSequencer", tampered(MatSequencer, ln_done=constant(1))),
    "the next vector's words": ("MatSequencer", tampered(MatSequencer, beat=with_field("px", plus(1)))),
    "a second pass without the first one's strobe": ("LayerNormCore", tampered(LayerNormCore, last=constant(0))),
    "sums not begun anew": ("LayerNormCore", tampered(LayerNormCore, sum_first=constant(0))),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    name, false = BUGS[bug]
    monkeypatch.setattr(f"hw.engines.mat.{name}", false)
    with pytest.raises(AssertionError):
        run_task(TOY, 4, 40)


def test_sums_of_the_vector_that_is_normalized_are_found(monkeypatch: pytest.MonkeyPatch):
    """Beside the second pass the first one's words lie in slot 2, and not in slot 0."""
    true = mat.Mux

    def never_slot_two(choice: Any, one: Any, other: Any) -> Any:
        words = isinstance(one, data.View) and isinstance(one.shape(), data.ArrayLayout)
        return other if words else true(choice, one, other)

    monkeypatch.setattr("hw.engines.mat.Mux", never_slot_two)
    with pytest.raises(AssertionError):
        run_task(TOY, 4, 40)
