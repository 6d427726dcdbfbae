"""Scores of the integer model."""

import dataclasses
import re

import numpy as np
import pytest

from sim.evaluate import evaluate
from sim.golden.model import GoldenModel
from tests.sim.golden.networks import pictures, small_network
from triovit.errors import UserError

PICTURES = pictures(10)


@pytest.fixture(scope="module")
def model():
    return GoldenModel(small_network())


@pytest.fixture(scope="module")
def predictions(model):
    return model.run(PICTURES).output.argmax(axis=1)


@pytest.mark.parametrize("batch", [1, 3, 10, 64, None])
def test_score_and_agreement(model, predictions, batch):
    labels = predictions.copy()
    labels[:4] = (labels[:4] + 1) % 5
    float_predictions = predictions.copy()
    float_predictions[0] = (float_predictions[0] + 1) % 5
    calls = []
    rest = {"batch": batch, "progress": lambda *call: calls.append(call)}
    found = evaluate(model, PICTURES, labels, float_predictions=float_predictions, **rest)
    assert (found.metric, found.int_score, found.float_score, found.agreement, found.images) == ("top1", 0.6, 0.5, 0.9, 10)
    assert found.images_per_second > 0
    assert calls[0] == ("evaluate", 0, 10)
    assert calls[-1] == ("evaluate", 10, 10)
    assert len(calls) == 1 + -(-10 // (batch or 10))


def test_without_float_results(predictions):
    bare = GoldenModel(dataclasses.replace(small_network(), float_score={}))
    found = evaluate(bare, PICTURES, predictions)
    assert (found.metric, found.int_score, found.float_score, found.agreement) == ("top1", 1.0, None, None)


def test_pictures_from_a_memory_map(model, predictions, tmp_path):
    np.save(tmp_path / "pictures.npy", PICTURES)
    assert evaluate(model, np.load(tmp_path / "pictures.npy", mmap_mode="r"), predictions).int_score == 1.0


@pytest.mark.parametrize(
    ("count", "labels", "rest", "message"),
    [
        (0, np.zeros(0, int), {}, "there are no pictures to evaluate; give at least one"),
        (10, np.zeros(9, int), {}, "the labels are int64 [9], and must be integers [10]: one for each picture"),
        (10, np.zeros(10), {}, "the labels are float64 [10], and must be integers [10]: one for each picture"),
        (10, np.arange(10), {}, "the labels span 0 .. 9, and the network has 5 classes; number them 0 .. 4"),
        (10, np.arange(10) % 5 - 1, {}, "the labels span -1 .. 3, and the network has 5 classes; number them 0 .. 4"),
        (10, np.zeros(10, int), {"float_predictions": np.full(10, 5)},
         "the float predictions span 5 .. 5, and the network has 5 classes; number them 0 .. 4"),
        (10, np.zeros(10, int), {"batch": 0}, "batch is 0, and must be at least 1"),
    ],
)
def test_what_cannot_be_evaluated(model, count, labels, rest, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        evaluate(model, PICTURES[:count], labels, **rest)


def test_another_metric(predictions):
    other = GoldenModel(dataclasses.replace(small_network(), float_score={"metric": "miou"}))
    with pytest.raises(UserError, match=r"^metric 'miou' of network small cannot be evaluated; only top1 can$"):
        evaluate(other, PICTURES, predictions)
