"""What R-MAC's lanes have in common, where the source changes every cycle."""

from typing import Any

import numpy as np
import pytest

from hw.config import TOY, AcceleratorConfig
from hw.engines.shared_operands import SharedOperands
from tests.hw.units.drive import stream_through
from tests.support.tamper import constant, tampered

EIGHT = TOY.with_(name="eight", l=16, m=8, n=8, t=8, s=8)
SOURCES = ("x", "taps", "K")


def errors(config: AcceleratorConfig, unit: type[SharedOperands] = SharedOperands) -> set[str]:
    """The sources whose operands are wrong; all others give something at the same time."""
    rng = np.random.default_rng(3)
    size = config.m
    vectors: list[dict[str, Any]] = []
    expected, sources = [], []
    for _ in range(200):
        joint, depthwise = (bool(rng.integers(2)) for _ in range(2))
        x, k_words = (rng.integers(-128, 128, (config.l, size)) for _ in range(2))
        weights = rng.integers(-127, 128, (config.l, config.n, size))
        exists, lane = rng.integers(0, 2, config.l), int(rng.integers(0, config.taps_per_row))
        vectors.append({
            "joint": joint,
            "depthwise": depthwise,
            "x": x.tolist(),
            "weights": weights.tolist(),
            "lane": lane,
            "k_words": k_words.tolist(),
            "lanes": int(exists @ (1 << np.arange(config.l))),
        })
        keys = np.maximum(k_words, 0) * exists[:, np.newaxis]
        # Block b: channel b mod m of as many pixels as there are channels.
        keys = keys.reshape(-1, size, size).transpose(0, 2, 1).reshape(config.l, size)
        sources.append(SOURCES[0 if joint else 1 if depthwise else 2])
        expected.append({"x": x, "taps": weights[:, lane], "K": keys}[sources[-1]].tolist())
    dut = unit(config)
    got = stream_through(dut, dut.latency, vectors, ["o"], {"x": dut.latency})
    assert set(sources) == set(SOURCES)
    return {source for source, out, wanted in zip(sources, got, expected, strict=True) if out["o"] != wanted}


@pytest.mark.parametrize("config", [TOY, EIGHT], ids=lambda config: config.name)
def test_the_source_that_counts_is_shared(config: AcceleratorConfig):
    assert errors(config) == set()


@pytest.mark.parametrize("config", [TOY, EIGHT], ids=lambda config: config.name)
@pytest.mark.parametrize(
    ("port", "value", "wrong"),
    [("joint", 0, {"x"}), ("depthwise", 0, {"taps"}), ("depthwise", 1, {"K"}), ("lane", 0, {"taps"}), ("lanes", -1, {"K"})],
)
def test_a_source_that_does_not_know_whether_it_counts_is_found(
    config: AcceleratorConfig, port: str, value: int, wrong: set[str]
):
    assert errors(config, tampered(SharedOperands, **{port: constant(value)})) == wrong
