"""A whole network, its trace and what it refuses."""

import dataclasses
import re
import tracemalloc

import numpy as np
import pytest

from quant.artifact import Artifact
from sim.compare import compare
from sim.golden import blocks
from sim.golden.model import GoldenModel
from sim.golden.trace import Trace
from tests.sim.golden.networks import pictures, plain_run, small_network
from triovit.errors import InternalError, UserError


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def trace(network):
    return GoldenModel(network).run(pictures())


@pytest.mark.parametrize("z_bits", [8, 15])
@pytest.mark.parametrize("code_bits", [4, 10])
@pytest.mark.parametrize("seed", range(4))
def test_random_networks_equal_plain_python(seed, code_bits, z_bits):
    network = small_network(seed, code_bits, z_bits)
    expected = Trace(tuple(layer.name for layer in network.layers), plain_run(network, pictures(2, seed)), network.output)
    comparison = compare(expected, GoldenModel(network).run(pictures(2, seed)))
    assert comparison.equal, str(comparison)
    assert comparison.layers == len(network.layers)


def test_the_trace_has_every_tensor_in_order(trace):
    order = "stem dw pw down qkv slice agg att.z att.ksum att.code att pool fc1 ln fc2"
    assert list(trace.tensors) == order.split()
    assert trace.of_layer("att") == ("att.z", "att.ksum", "att.code", "att")
    assert {name: (tensor.dtype.name, tensor.shape) for name, tensor in trace.tensors.items() if name.startswith("att")} == {
        "att.z": ("int16", (3, 3, 4, 4)),
        "att.ksum": ("int16", (3, 3, 4)),
        "att.code": ("uint16", (3, 3, 6)),
        "att": ("int8", (3, 12, 3, 2)),
    }
    assert trace.output.dtype == np.int16
    assert trace.output is trace.tensors["fc2"]


def test_a_batch_equals_its_pictures_one_by_one(network, trace):
    model = GoldenModel(network)
    for index, picture in enumerate(pictures()):
        single = model.run(picture[None])
        assert all((single.tensors[name][0] == tensor[index]).all() for name, tensor in trace.tensors.items())


def test_keeping_only_the_output(network, trace):
    light = GoldenModel(network).run(pictures(), keep_all=False)
    assert list(light.tensors) == ["fc2"]
    assert (light.output == trace.output).all()


def test_keeping_only_the_output_holds_less_memory(network):
    model, many = GoldenModel(network), pictures(400)

    def held(keep_all):
        tracemalloc.start()
        result = model.run(many, keep_all=keep_all)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert result.output.shape == (400, 5)
        return size

    assert held(False) < held(True) / 10


def test_unchecked_mode_gives_the_same(network, trace):
    assert compare(trace, GoldenModel(network, checked=False).run(pictures())).equal


@pytest.mark.parametrize("values", [1, 50, 200])
def test_the_size_of_blocks_changes_nothing(network, trace, values, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK_VALUES", values)
    assert compare(trace, GoldenModel(network).run(pictures())).equal


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 5, 9, 9), (1, 64, 112, 112), (0, 4, 2, 2), (1, 3, 500, 500)])
def test_blocks_cover_every_channel_once(shape):
    covered = [channel for block in blocks.channel_blocks(shape) for channel in range(shape[1])[block]]
    assert covered == list(range(shape[1]))


def test_no_pictures_give_no_results(network):
    assert GoldenModel(network).run(pictures(0)).output.shape == (0, 5)


@pytest.mark.parametrize("name", ["stem", "pw", "att", "fc2"])
def test_a_single_layer(network, trace, name):
    produced = GoldenModel(network).run_layer(name, {"image": (pictures().astype(int) - 128).astype(np.int8), **trace.tensors})
    assert list(produced) == list(trace.of_layer(name))
    assert all((produced[tensor] == trace.tensors[tensor]).all() for tensor in produced)


def test_an_artifact_from_disk_runs_alike(network, trace, tmp_path):
    network.save(tmp_path / "small")
    assert compare(trace, GoldenModel(Artifact.load(tmp_path / "small")).run(pictures())).equal


TAKES = "and network small takes uint8 [N, 3, 9, 7]"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((1, 3, 9, 7), np.float32), f"float32 [1, 3, 9, 7], {TAKES}; give raw pixels 0..255"),
        (np.zeros((2, 3, 8, 8), np.uint8), f"uint8 [2, 3, 8, 8], {TAKES}; resize and crop them to 9 x 7"),
        (np.zeros((3, 9, 7), np.uint8), f"uint8 [3, 9, 7], {TAKES}; give a batch: [N, 3, 9, 7]"),
        (np.zeros((2, 9, 7, 3), np.uint8), f"uint8 [2, 9, 7, 3], {TAKES}; put the 3 channels before height and width"),
        ([[0]], f"list [], {TAKES}; give raw pixels 0..255"),
    ],
)
def test_wrong_pictures(network, wrong, message):
    with pytest.raises(UserError, match=f"^{re.escape(f'the pictures are {message}')}$"):
        GoldenModel(network).run(wrong)


def test_an_unknown_layer(network):
    with pytest.raises(UserError, match=r"^layer 'nowhere' is unknown; the network small has stem, dw, "):
        GoldenModel(network).run_layer("nowhere", {})


def test_a_missing_or_wrong_input(network, trace):
    model = GoldenModel(network)
    with pytest.raises(InternalError, match=r"^layer pw: input stem is missing$"):
        model.run_layer("pw", {"dw": trace.tensors["dw"]})
    with pytest.raises(InternalError, match=r"^layer dw: input stem is int64, not int8$"):
        model.run_layer("dw", {"stem": trace.tensors["stem"].astype(np.int64)})


def test_a_broken_bound_names_the_layer(network):
    layers = [dataclasses.replace(layer, arrays=dict(layer.arrays)) for layer in network.layers]
    layers[0].arrays["bias"] = np.full(8, 2**26 - 1, np.int32)
    broken = dataclasses.replace(network, layers=layers)
    dark = np.zeros_like(pictures())
    with pytest.raises(InternalError, match=r"^layer stem: accumulator with bias must lie in \[-67108864, 67108863\], but spans"):
        GoldenModel(broken).run(dark)
    assert GoldenModel(broken, checked=False).run(dark).output.shape == (3, 5)


def test_what_no_artifact_may_hold(network):
    odd = dataclasses.replace(network, layers=[dataclasses.replace(network.layers[0], kind="deconv")])
    with pytest.raises(InternalError, match=r"^layer stem: kind deconv is unknown$"):
        GoldenModel(odd).run(pictures())
    bare = dataclasses.replace(network, layers=[dataclasses.replace(network.layers[0], post=None)])
    with pytest.raises(InternalError, match=r"^layer stem: kind conv needs post-processing$"):
        GoldenModel(bare)
