"""Random small networks through both engines and post-processing, bit for bit."""

import numpy as np
import pytest

from hw.compiler.compile import compile_network
from hw.config import TOY
from sim.golden.model import GoldenModel
from tests.support.core_bench import run_core, tensors
from tests.support.networks import NetworkBuilder


def check(net, config, stall=0.0, seed=0):
    artifact = net.artifact()
    picture = np.random.default_rng(seed).integers(0, 256, artifact.input_shape).astype(np.uint8)
    golden = GoldenModel(artifact).run(picture[None])
    program = compile_network(artifact, config)
    run = run_core(program, picture, pads=[int(p) for p in artifact.layers[0].arrays["pad"]], stall=stall, seed=seed)
    got = tensors(program, artifact, run)
    for layer in artifact.layers:
        expected = golden.tensors[layer.name][0].reshape(layer.output_shape[0], -1)
        wrong = np.argwhere(got[layer.name] != expected)
        assert not len(wrong), f"{layer.name}: {len(wrong)} of {expected.size} differ, first at {wrong[0]}: expected {expected[tuple(wrong[0])]}, got {got[layer.name][tuple(wrong[0])]}"
    return run


def test_stem_and_pw():
    net = NetworkBuilder(1, 8, 12)
    net.pw("pw", net.stem(5), 11)
    check(net, TOY)


def test_mbconv_with_residual():
    net = NetworkBuilder(2, 10, 12)
    stem = net.stem(8)
    hidden = net.pw("pw1", stem, 21, "hardswish")
    net.pw("pw2", net.dw("dw", hidden), 8, residual=stem)
    check(net, TOY)


def test_stride_two_and_odd_sizes():
    net = NetworkBuilder(3, 14, 10)
    hidden = net.pw("pw1", net.stem(6), 13, "hardswish")
    out = net.pw("pw2", net.dw("dw", hidden, stride=2), 9)
    hidden = net.pw("pw3", out, 18, "hardswish")
    net.pw("pw4", net.dw("dw2", hidden, kernel=5), 9, residual=out)
    check(net, TOY)


def test_dsconv():
    net = NetworkBuilder(4, 8, 8)
    stem = net.stem(8)
    net.pw("pw", net.dw("dw", stem), 8, residual=stem)
    check(net, TOY)


def test_attention():
    net = NetworkBuilder(5, 8, 12)
    trunk = net.pw("in", net.stem(8), 16)
    qkv = net.pw("qkv", trunk, 48)
    aggregated = net.pw("agg.gpw", net.dw("agg.dw5", qkv, kernel=5, act="none"), 48, groups=6)
    net.pw("proj", net.attention("att", (qkv, aggregated), 8), 16, residual=trunk)
    check(net, TOY)


def test_head():
    net = NetworkBuilder(6, 8, 8)
    net.head(net.stem(8), 13, 21, 10)
    check(net, TOY)
