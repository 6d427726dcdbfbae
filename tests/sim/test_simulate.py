"""The built-in network on the emitted Verilog: bit for bit, whatever the memory does, and what is said of a difference."""

from dataclasses import replace

import numpy as np
import pytest

import sim.simulate
from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.config import TOY
from hw.control.descriptor import Buffer
from quant.artifact import Artifact
from quant.replay import replay
from sim.bench.runner import RunResult
from sim.golden.model import GoldenModel
from sim.golden.trace import Trace
from sim.simulate import MemoryOptions, SimulationReport, simulate
from tests.support.road import digits_artifact, held_out, needs_simulator, recorded, toy
from triovit.errors import InternalError, UserError

pytestmark = needs_simulator
PICTURES = 8


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    toy()
    return digits_artifact()


@pytest.fixture(scope="module")
def golden(artifact: Artifact) -> Trace:
    return GoldenModel(artifact).run(held_out(PICTURES))


@pytest.fixture(scope="module")
def run(artifact: Artifact) -> tuple[SimulationReport, RunResult]:
    with pytest.MonkeyPatch.context() as patch:
        results = recorded(patch)
        report = simulate(artifact, TOY, held_out(PICTURES))
    return report, results[0]


def test_replay_golden_and_hardware_are_equal_on_all_layers_of_eight_digits(artifact, golden, run):
    assert len(golden.layers) == 33
    attentions = [layer.name for layer in artifact.layers if layer.kind == "attention"]
    assert len(attentions) == 2
    for index, picture in enumerate(held_out(PICTURES)):
        replayed = replay(artifact, picture)
        assert set(replayed) == set(golden.tensors)
        for name, tensor in replayed.items():
            assert np.array_equal(golden.tensors[name][index], tensor), (index, name)

    comparison = run[0].comparison
    assert str(comparison) == f"33 layers, 40 tensors, {comparison.elements} values compared: all equal"
    # All of the golden model's, the attentions' inner ones too, and the output a second time.
    assert len(golden.tensors) == 33 + 3 * len(attentions)
    assert comparison.tensors == len(golden.tensors) + 1
    assert comparison.elements == sum(tensor.size for tensor in golden.tensors.values()) + golden.output.size
    assert (comparison.mismatches, comparison.wrong_layers, comparison.first) == (0, (), None)


def test_the_host_reads_the_logits_where_store_put_them(artifact, golden, run):
    report, result = run
    assert golden.output.shape == (PICTURES, 10)
    assert np.array_equal(report.output, golden.output)
    # The layout of hw/io/store.py written down once more: a page a picture, words of 4 channels for 4 pixels, of which 1 counts.
    values = np.frombuffer(result.output, "<i2").reshape(PICTURES, 4096 // 2)
    for picture, logits in zip(values, golden.output, strict=True):
        assert [int(picture[16 * (c // 4) + c % 4]) for c in range(10)] == logits.tolist()
        assert np.count_nonzero(picture) == np.count_nonzero(logits)


def overlap(report: SimulationReport, first: str, second: str) -> int:
    """Cycles in which R-MAC worked on layer ``first`` and MAT on layer ``second``."""
    spans = {
        (engine, layer): [(event.start, event.end) for event in report.timeline if (event.engine, event.layer) == (engine, layer)]
        for engine, layer in (("R-MAC", first), ("MAT", second))
    }
    return sum(
        max(0, min(one[1], other[1]) - max(one[0], other[0]))
        for one in spans["R-MAC", first]
        for other in spans["MAT", second]
    )


def test_both_pipelines_overlap_in_the_hardware(run):
    report = run[0]
    # Inter-layer pipeline: the pointwise or group convolution runs while the depthwise one does.
    assert overlap(report, "S1.0.MB.dw", "S1.0.MB.pw2") > 400
    assert overlap(report, "S2.1.MLA.agg.dw5", "S2.1.MLA.agg.gpw") > 300
    # Attention: divisors and quotients of the heads that do not wait for the aggregation, beside its depthwise layer.
    assert overlap(report, "S2.1.MLA.agg.dw5", "S2.1.MLA.att") > 100


def test_a_wrong_value_in_memory_is_found(artifact, monkeypatch):
    genuine = sim.simulate.run_bench

    def spoilt(spec, job, **named):
        result = genuine(spec, job, **named)
        output = bytearray(result.output)
        output[4096 + 2] ^= 1  # the second picture's channel 1
        return replace(result, output=bytes(output))

    monkeypatch.setattr(sim.simulate, "run_bench", spoilt)
    comparison = simulate(artifact, TOY, held_out(2)).comparison
    first = comparison.first
    assert first is not None
    assert (comparison.mismatches, first.layer, first.tensor, first.index) == (1, "head.fc2", "head.fc2.stored", (1, 1))
    assert first.got == first.expected ^ 1
    assert first.cycle is None


def test_the_report_says_what_was_run(run):
    report, result = run
    assert (report.config, report.images, report.waves) == ("toy", PICTURES, None)
    assert report.cycles == result.reports[-1]["cycles"]
    assert report.utilization == report.macs / (report.cycles * 128)
    assert {event.engine for event in report.timeline} == {"MAT", "R-MAC", "LOAD", "STORE"}
    assert [row.name for row in report.layers] == list(dict.fromkeys(row.name for row in report.layers))
    assert len(report.layers) == 33
    assert sum(row.macs for row in report.layers) == report.macs
    assert result.violations == []
    # Every picture takes the same time, and nothing is left of the one before but whose turn it is to read: before the first
    # picture it is another's.
    first, *others = (one["cycles"] for one in result.reports)
    assert len(set(others)) == 1 and abs(first - others[0]) < 0.005 * others[0]


# ---- memory -------------------------------------------------------------------------------------------------------------------


def test_a_slow_memory_changes_nothing(artifact):
    report = simulate(artifact, TOY, held_out(2), memory=MemoryOptions(latency=60))
    assert report.comparison.equal
    assert report.comparison.tensors == 40


@pytest.mark.parametrize("seed", [1, 3])
def test_random_stalls_on_every_channel_change_nothing_but_time(artifact, golden, run, monkeypatch, seed):
    results = recorded(monkeypatch)
    report = simulate(artifact, TOY, held_out(PICTURES), memory=MemoryOptions(latency=20 + 40 * seed, stall=30, seed=seed))
    assert report.comparison.equal
    assert report.comparison.elements == run[0].comparison.elements
    assert np.array_equal(report.output, golden.output)
    smooth, stalled = run[1], results[0]
    assert stalled.violations == []
    for name, channel in stalled.channels.items():
        assert channel.count == smooth.channels[name].count, name
    assert all(stalled.channels[name].stalled > smooth.channels[name].stalled for name in ("ar", "aw", "w"))
    assert all(stalled.channels[name].held > 0 == smooth.channels[name].held for name in ("r", "b"))
    # Each picture met other stalls.
    assert len({one["cycles"] for one in stalled.reports}) > 1


# ---- differences ------------------------------------------------------------------------------------------------------------


def altered(artifact: Artifact, name: str, array: str, at: tuple[int, ...], value: int) -> Artifact:
    """A copy of the artifact with one element of one layer's array changed."""
    layers = []
    for layer in artifact.layers:
        if layer.name == name:
            arrays = {**layer.arrays, array: layer.arrays[array].copy()}
            assert arrays[array][at] != value
            arrays[array][at] = value
            layer = replace(layer, arrays=arrays)
        layers.append(layer)
    return Artifact(network=artifact.network, layers=layers, output=artifact.output, input_shape=artifact.input_shape)


def write_cycle(result: RunResult, program: Program, tag: int, picture: int, channel: int, pixel: int) -> int:
    """The cycle of the last write of an element, looked up record by record."""
    starts = [int(event["cycle"]) for event in result.dispatches[:: program.descriptor_count]] + [result.cycles + 1]
    found = -1
    for record in result.writes[(result.writes["tag"] == tag) & (result.writes["dst"] < Buffer.Z.value)]:
        for slot in range(TOY.l):
            where = int(record["px"]) + slot % (1 << int(record["split"])), int(record["cg"]) + (slot >> int(record["split"]))
            inside = starts[picture] <= record["cycle"] < starts[picture + 1]
            if int(record["mask"]) >> slot & 1 and inside and where == (pixel, channel // TOY.m):
                found = int(record["cycle"])
    return found


@pytest.mark.parametrize(("layer", "array", "at", "value"), [
    ("stem.0", "weight", (3, 1, 2, 0), -128),
    ("S1.0.MB.dw", "weight", (17, 1, 1), -128),
    ("S2.1.MLA.agg.gpw", "weight", (5, 2), -128),
    ("S3.1.MB.pw2", "bias", (6,), 1 << 24),
    ("head.fc1", "weight", (30, 7), -128),
])  # fmt: skip
def test_one_wrong_byte_is_traced_to_its_layer_and_element(artifact, golden, monkeypatch, layer, array, at, value):
    # The hardware runs another network than the one it is compared with: one byte of the stream is different.
    other = altered(artifact, layer, array, at, value)
    program = compile_network(other, TOY)
    differing = sum(a != b for a, b in zip(program.image(), compile_network(artifact, TOY).image(), strict=True))
    assert 1 <= differing <= 4
    results = recorded(monkeypatch)
    monkeypatch.setattr(sim.simulate, "compile_network", lambda *_: program)
    comparison = simulate(artifact, TOY, held_out(2)).comparison

    wrong = GoldenModel(other, checked=False).run(held_out(2))
    unequal = {name: tensor != golden.tensors[name][:2] for name, tensor in wrong.tensors.items()}
    mismatches = sum(int(np.count_nonzero(where)) for where in unequal.values())
    assert comparison.mismatches == mismatches + int(np.count_nonzero(unequal["head.fc2"]))
    names = artifact.layers
    assert comparison.wrong_layers == tuple(one.name for one in names if any(unequal[t].any() for t in wrong.of_layer(one.name)))
    assert comparison.wrong_layers[0] == layer

    first = comparison.first
    assert first is not None
    index = tuple(int(i) for i in np.argwhere(unequal[layer])[0])
    assert (first.layer, first.tensor, first.index) == (layer, layer, index)
    assert first.expected == golden.tensors[layer][index]
    assert first.got == wrong.tensors[layer][index]
    tag = [one.name for one in names].index(layer)
    pixel = index[2] * golden.tensors[layer].shape[3] + index[3] if len(index) == 4 else 0
    assert first.cycle == write_cycle(results[0], program, tag, index[0], index[1], pixel) > 0
    position = ", ".join(map(str, index))
    difference = f"layer {layer}: {layer}[{position}] is {first.got} at cycle {first.cycle}, and must be {first.expected}"
    assert str(comparison).startswith(f"{difference} (33 layers, 40 tensors, ")


@pytest.mark.parametrize(("array", "part", "value"), [("z_mult", "z", 1), ("k_mult", "ksum", 1), ("div_min", "code", 9)])
def test_what_is_wrong_inside_attention_is_named(artifact, golden, monkeypatch, array, part, value):
    # Through the stream or, for the divisors' bases, where the compiler puts them.
    other = altered(artifact, "S2.1.MLA.att", array, (1,), value)
    monkeypatch.setattr(sim.simulate, "compile_network", lambda *_: compile_network(other, TOY))
    first = simulate(artifact, TOY, held_out(1)).comparison.first
    assert first is not None
    assert (first.layer, first.tensor) == ("S2.1.MLA.att", f"S2.1.MLA.att.{part}")
    assert first.index[:2] == (0, 1)  # the second head
    assert first.got == GoldenModel(other, checked=False).run(held_out(1)).tensors[first.tensor][first.index]
    assert first.cycle is not None and first.cycle > 0


# ---- one layer, and what can be wrong with a call ----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["stem.0", "S2.1.MLA.att", "S2.1.MLA.proj", "head.fc2"])
def test_one_layer_runs_what_it_needs_and_is_compared_alone(artifact, golden, layer, monkeypatch):
    results = recorded(monkeypatch)
    report = simulate(artifact, TOY, held_out(1), layer=layer)
    names = golden.of_layer(layer)
    assert report.comparison.equal
    assert (report.comparison.layers, report.comparison.tensors) == (1, len(names))
    assert report.comparison.elements == sum(golden.tensors[name][0].size for name in names)
    assert report.layers[-1].name == layer
    assert report.output.size == 0
    order = [one.name for one in artifact.layers]
    assert int(results[0].dispatches["tag"].max()) == order.index(layer)
    assert {"STORE"}.isdisjoint(event.engine for event in report.timeline)


def test_a_wrong_layer_before_the_one_that_was_asked_for_counts(artifact, monkeypatch):
    other = altered(artifact, "stem.0", "bias", (0,), 1 << 24)
    monkeypatch.setattr(sim.simulate, "compile_network", lambda *_: compile_network(other, TOY))
    comparison = simulate(artifact, TOY, held_out(1), layer="stem.1.dw").comparison
    assert comparison.wrong_layers == ("stem.1.dw",)
    assert simulate(artifact, TOY, held_out(1), layer="stem.0").comparison.wrong_layers == ("stem.0",)


def test_unknown_layer(artifact):
    with pytest.raises(UserError) as raised:
        simulate(artifact, TOY, held_out(1), layer="stem.9")
    assert str(raised.value).startswith("layer 'stem.9' is unknown; the network digits has stem.0, stem.1.dw, ")


def test_pictures_of_another_size(artifact):
    with pytest.raises(UserError) as raised:
        simulate(artifact, TOY, np.zeros((1, 3, 16, 16), np.uint8))
    assert str(raised.value) == (
        "the pictures are uint8 [1, 3, 16, 16], and network digits takes uint8 [N, 3, 32, 32]; resize and crop them to 32 x 32"
    )


def test_stalls_that_leave_nothing(artifact):
    with pytest.raises(UserError, match=r"^a stall of 99 % was asked for; choose one between 0 and 95$"):
        simulate(artifact, TOY, held_out(1), memory=MemoryOptions(stall=99))


def test_an_error_of_the_accelerator_says_where_it_stood(artifact, monkeypatch):
    program = compile_network(artifact, TOY)
    third = program.tasks[3]
    spoilt = replace(program, tasks=(*program.tasks[:3], replace(third, fields={**third.fields, "tiles": 0})))
    monkeypatch.setattr(sim.simulate, "compile_network", lambda *_: spoilt)
    with pytest.raises(InternalError) as raised:
        simulate(artifact, TOY, held_out(1))
    assert str(raised.value).startswith("picture 0: the accelerator reports error BAD_FIELD at descriptor 3; finished at cycle ")
    assert f"({program.tasks[2].layer})" in str(raised.value)


@pytest.mark.full
def test_waves_on_request(artifact, monkeypatch, tmp_path):
    report = simulate(artifact, TOY, held_out(1), layer="stem.0", waves=True)
    assert report.comparison.equal
    assert report.waves is not None
    assert report.waves.suffix == ".fst"
    assert report.waves.stat().st_size > 10_000
    assert report.waves.read_bytes()[:1] == b"\0"  # the block that begins every FST file
