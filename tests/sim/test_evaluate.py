"""Scores of the integer model."""

import dataclasses
import re

import numpy as np
import pytest

from quant.artifact import Artifact, Layer, Post
from sim.evaluate import evaluate, score
from sim.golden.model import GoldenModel
from sim.scoring.classes import network_classes
from sim.scoring.scores import MeanIoU, Top1
from sim.scoring.upsample import bilinear
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
    seen = iter(float_predictions)

    def float_network(part):
        return np.eye(5)[[next(seen) for _ in part]]

    rest = {"batch": batch, "progress": lambda *call: calls.append(call)}
    found = evaluate(model, PICTURES, labels, float_network=float_network, **rest)
    assert (found.metric, found.int_score, found.float_score, found.agreement, found.images) == ("top1", 0.6, 0.7, 0.9, 10)
    assert (found.int_pixel_accuracy, found.float_pixel_accuracy, found.classes) == (None, None, None)
    assert evaluate(model, PICTURES, labels, batch=batch).float_score == 0.5
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
        (10, np.zeros(10, int), {"batch": 0}, "batch is 0, and must be at least 1"),
    ],
)
def test_what_cannot_be_evaluated(model, count, labels, rest, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        evaluate(model, PICTURES[:count], labels, **rest)


def segmentation_network():
    """A pointwise layer as a network of four classes for pictures of 6x8, whose logits (int16) are of that size."""
    rng = np.random.default_rng(5)
    arrays = {name: np.zeros(4, np.int32) for name in ("bias", "three", "zero")}
    arrays |= {"mult": np.full(4, 40000, np.int32), "shift": np.full(4, 20, np.int32)}
    weight = rng.integers(-9, 10, (4, 3)).astype(np.int8)
    layer = Layer("out", "pw", ("image",), (4, 6, 8), 1.0, {"groups": 1}, Post(), {"weight": weight, **arrays})
    network = {"name": "tiny-seg", "resolution": [6, 8], "classes": 4, "task": "segmentation"}
    return GoldenModel(Artifact(network, [layer], "out", input_shape=(3, 6, 8)))


def test_segmentation():
    model, rng = segmentation_network(), np.random.default_rng(6)
    given = rng.integers(0, 256, (5, 3, 6, 8)).astype(np.uint8)
    logits = model.run(given).output
    sizes = ((6, 8), (12, 16), (5, 5), (6, 8), (7, 9))
    # By hand, with what the scores are tested to compute.
    ours = [bilinear(one, size).argmax(0) for one, size in zip(logits, sizes, strict=True)]
    labels = [np.where(rng.random(one.shape) < 0.7, one, rng.integers(0, 4, one.shape)).astype(np.uint8) for one in ours]
    labels[1][:4] = 255
    beside = np.roll(logits, 1, axis=1).astype(np.float32)
    beside[:3] = logits[:3]
    place = iter(range(5))
    found = evaluate(
        model, given, labels, float_network=lambda part: np.stack([beside[next(place)] for _ in part]), batch=2
    )
    integer, floating = MeanIoU(network_classes(4)), MeanIoU(network_classes(4))
    integer.add(logits, labels)
    floating.add(beside, labels)
    same = sum(int((one == bilinear(two, one.shape).argmax(0)).sum()) for one, two in zip(ours, beside, strict=True))
    assert (found.metric, found.classes, found.images) == ("miou", "network", 5)
    assert (found.int_score, found.int_pixel_accuracy) == (integer.score, integer.pixel_accuracy)
    assert (found.float_score, found.float_pixel_accuracy) == (floating.score, floating.pixel_accuracy)
    assert found.int_score > found.float_score
    # Void pixels count, too.
    assert found.agreement == same / sum(one.size for one in ours) < 1
    alone = evaluate(model, given, labels)
    assert (alone.int_score, alone.float_score, alone.agreement) == (integer.score, None, None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([np.zeros((6, 8), np.uint8)] * 2, "there are 2 label maps for 3 pictures; give one for each picture"),
        (np.zeros(3, int), "the labels are int64 [3], and must be label maps, one for each picture"),
    ],
)
def test_label_maps_that_do_not_fit(labels, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        evaluate(segmentation_network(), np.zeros((3, 3, 6, 8), np.uint8), labels)


def test_a_network_without_logits():
    model = segmentation_network()
    model.artifact.network["classes"] = 19
    with pytest.raises(UserError) as caught:
        evaluate(model, np.zeros((3, 3, 6, 8), np.uint8), [np.zeros((6, 8), np.uint8)] * 3)
    assert str(caught.value) == (
        "network tiny-seg: its output out has 4 channels, and not one for each of 19 classes, so it cannot be scored; "
        "quantize the network again"
    )


def test_a_recorded_score_of_another_metric_is_not_shown(predictions):
    other = GoldenModel(dataclasses.replace(small_network(), float_score={"metric": "miou", "score": 0.5}))
    assert evaluate(other, PICTURES, predictions).float_score is None


def test_score_of_any_network():
    scorer, calls = Top1(), []
    labels = PICTURES[:, 0, 0, :3].argmax(1)
    score(lambda part: part[:, 0, 0, :3].astype(float), PICTURES, labels, scorer, lambda *call: calls.append(call))
    assert scorer.score == 1.0
    assert (calls[0], calls[-1]) == (("scoring the float network", 0, 10), ("scoring the float network", 10, 10))
