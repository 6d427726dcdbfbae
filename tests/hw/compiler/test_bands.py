"""Bands of rows: every row computed once, from rows that are there and still are; what is tried, and what comes out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.compiler.bands import Kept, Rows, cut, numbers, readers
from hw.compiler.compile import compile_network
from hw.config import TOY, ZCU102
from hw.control.descriptor import Opcode, Unit
from quant.blank import blank_artifact
from quant.layer import Layer
from quant.networks.spec import spec
from tests.hw.compiler.test_compile import assert_sound
from tests.support.networks import NetworkBuilder
from triovit.errors import UserError


@st.composite
def spans(draw: st.DrawFn) -> list[Layer]:
    """A stem and some depthwise-separable and inverted-bottleneck blocks, residuals among them."""
    net = NetworkBuilder(0, 2 * draw(st.integers(2, 40)), 2 * draw(st.integers(2, 20)))
    last = net.stem(4)
    for index in range(draw(st.integers(0, 3))):
        kernel, stride = draw(st.sampled_from([3, 5])), draw(st.sampled_from([1, 2]))
        hidden = net.pw(f"{index}.pw1", last, 8) if draw(st.booleans()) else last
        depthwise = net.dw(f"{index}.dw", hidden, kernel, stride)
        residual = last if stride == 1 and draw(st.booleans()) else None
        last = net.pw(f"{index}.pw2", depthwise, 4, residual=residual)
    return net.layers


def wanted(reader: Layer, tensor: str, row: int, height: int) -> range:
    """Rows of a tensor that one row of a reader is made of, by the definition of the convolution."""
    if reader.kind == "dw" and tensor in reader.inputs:
        radius, centre = reader.attrs["kernel"] // 2, row * reader.attrs["stride"]
        return range(max(0, centre - radius), min(height, centre + radius + 1))
    return range(row, row + 1)


def there_is(kept: Kept, chunk: int, begin: int) -> int:
    """The row of its place where a chunk of pixels is, the window's first chunk being ``begin``."""
    if kept.window:
        assert 0 <= chunk - begin < kept.window
        return chunk - begin
    return chunk % (1 << kept.ring) if kept.ring else chunk


@settings(deadline=None)
@given(spans(), st.integers(1, 12), st.sampled_from([4, 16]))
def test_rows_are_computed_once_from_rows_that_are_in_their_rings(layers, bands, lanes):
    bands = min(bands, layers[-1].output_shape[1])
    rows = cut(layers, bands)
    held: dict[str, dict[int, int]] = {layer.name: {} for layer in layers}
    done, begins = dict.fromkeys(held, 0), dict.fromkeys(held, 0)
    for band in range(bands):
        for layer in layers:
            _, height, width = layer.output_shape
            start, end = rows[layer.name].computed[band]
            assert start == done[layer.name] <= end <= height
            done[layer.name] = end
            for source in layers:
                if layer not in readers(layers, source.name):
                    continue
                for row in range(start, end):
                    for there in wanted(layer, source.name, row, source.output_shape[1]):
                        for px in (there * source.output_shape[2], (there + 1) * source.output_shape[2] - 1):
                            chunk = px // lanes
                            place = there_is(rows[source.name].kept(lanes), chunk, begins[source.name])
                            assert held[source.name][place] == chunk, (layer.name, row)
            if end > start:
                begins[layer.name] = start * width // lanes
                for chunk in range(start * width // lanes, -(-end * width // lanes)):
                    held[layer.name][there_is(rows[layer.name].kept(lanes), chunk, begins[layer.name])] = chunk
    assert all(done[layer.name] == layer.output_shape[1] for layer in layers)
    assert [end for _, end in rows[layers[-1].name].computed] == [
        layers[-1].output_shape[1] * (band + 1) // bands for band in range(bands)
    ]


def test_a_ring_is_no_larger_than_the_whole():
    assert Rows(((0, 6), (6, 12)), (0, 5), 8).kept(4) == Kept(ring=4)
    assert Rows(((0, 6), (6, 12)), (0, 6), 8).kept(4) == Kept(window=12)
    assert Rows(((0, 5), (5, 11)), (0, 5), 6).kept(4) == Kept(window=10)
    assert Rows(((0, 6), (6, 12)), (0, 5), 8).pixels == ((0, 48), (48, 96))
    assert Rows(((0, 12),), (0,), 8).kept(4) == Kept()
    assert Rows(((0, 9), (9, 12)), (0, 8), 8).kept(4) == Kept()


@pytest.mark.parametrize(
    ("height", "tried"), [(1, []), (2, [2]), (3, [2, 3]), (6, [2, 4, 6]), (8, [2, 4, 8]), (56, [2, 4, 8, 16, 32, 56])]
)
def test_few_bands_are_tried_first(height, tried):
    assert numbers(height) == tried


def inverted_bottleneck() -> NetworkBuilder:
    net = NetworkBuilder(1, 24, 28)
    stem = net.stem(6)
    block = net.pw("ds.pw", net.dw("ds.dw", stem, 3, 1), 6, residual=stem)
    net.pw("mb.pw2", net.dw("mb.dw", net.pw("mb.pw1", block, 18, "hardswish"), 3, 2), 10)
    return net


def test_layers_that_do_not_fit_take_turns_band_by_band():
    low = TOY.with_(name="low", x_rows=64, y_rows=64)
    program = compile_network(inverted_bottleneck().artifact(), low)
    assert_sound(program)
    found = [(task.layer, task.opcode.name, task.get("px_start"), task.get("px_end")) for task in program.tasks]
    assert found == [
        ("stem.0", "LOAD", 0, 168),
        ("stem.0", "PW", 0, 98),
        ("ds.dw", "DW", 0, 84),
        ("ds.pw", "PW", 0, 84),
        ("mb.pw1", "PW", 0, 84),
        ("stem.0", "PW", 98, 168),
        ("ds.dw", "DW", 84, 168),
        ("ds.pw", "PW", 84, 168),
        ("mb.pw1", "PW", 84, 168),
        ("mb.dw", "DW", 0, 42),
        ("mb.pw2", "PW", 0, 42),
        ("mb.pw2", "STORE", 0, 42),
    ]
    rings = {task.layer: task.get("dst_ring") for task in program.tasks if task.opcode in (Opcode.PW, Opcode.DW)}
    assert rings == {"stem.0": 5, "ds.dw": 0, "ds.pw": 0, "mb.pw1": 0, "mb.dw": 0, "mb.pw2": 0}
    # LOAD is under way until the last band of the stem; nothing before it may wait for it.
    stems = [index for index, task in enumerate(program.tasks) if task.get("behind_load")]
    assert len(stems) == 2
    assert all(not task.wait & Unit.LOAD for task in program.tasks[1 : stems[-1] + 1])
    assert program.tasks[stems[-1] + 1].wait & Unit.LOAD
    whole = compile_network(inverted_bottleneck().artifact(), TOY)
    assert sum(task.macs for task in program.tasks) == sum(task.macs for task in whole.tasks)


@pytest.mark.parametrize(("network", "size"), [("b1", 256), ("b1", 288), ("b2", 224), ("b2", 256)])
def test_larger_networks_fit_the_board(network, size):
    artifact = blank_artifact(spec(network).at((size, size)))
    for pictures in (1, 16):
        program = compile_network(artifact, ZCU102, pictures)
        assert_sound(program)
        products = sum(task.macs for task in program.tasks) / pictures
        # All products, and none twice.
        small = sum(task.macs for task in compile_network(artifact, ZCU102.with_(d_rows=8192, x_rows=8192, y_rows=8192)).tasks)
        assert products == small


def test_bands_are_tried_only_for_what_finds_no_place(monkeypatch):
    tried = []
    monkeypatch.setattr("hw.compiler.compile.numbers", lambda height: tried.append(height) or numbers(height))
    few = TOY.with_(name="few", weight_rows=16, o_rows=1024)
    net = NetworkBuilder(0, 24, 28)
    net.dw("dw", net.pw("pw", net.stem(4), 40), kernel=5)
    with pytest.raises(UserError, match="exceed weight_rows = 16"):
        compile_network(net.artifact(), few)
    assert not tried
    compile_network(inverted_bottleneck().artifact(), TOY.with_(name="low", x_rows=64, y_rows=64))
    assert tried
