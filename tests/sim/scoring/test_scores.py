"""Top-1 and mean intersection over union."""

import math

import numpy as np
import pytest

from sim.scoring.classes import CAMVID, network_classes
from sim.scoring.scores import MeanIoU, Top1


def one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    """int16 ``[1, count, h, w]`` whose largest logit is ``classes``."""
    return (np.arange(count)[:, None, None] == classes).astype(np.int16)[None] * 100


def test_top1_over_two_batches():
    score = Top1()
    assert math.isnan(score.score)
    assert [int(c) for c in score.add(np.array([[1, 5, 5], [9, 0, 1]], np.int16), np.array([1, 2]))] == [1, 0]
    score.add(np.array([[0.1, 0.2, 0.3]]), np.array([2]))
    assert (score.metric, score.score, score.pixel_accuracy) == ("top1", 2 / 3, None)


def test_miou_of_a_confusion_matrix_made_by_hand():
    score = MeanIoU(network_classes(3))
    assert math.isnan(score.score)
    assert math.isnan(score.pixel_accuracy)
    truth = np.array([[0, 0, 1, 1], [2, 2, 255, 255]], np.uint8)
    found = np.array([[0, 1, 1, 1], [2, 0, 0, 2]], np.uint8)
    (classes,) = score.add(one_hot(found, 3), [truth])
    assert (classes == found).all()
    assert score.confusion.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    # Void pixels are in no union: 1/3, 2/3, 1/2.
    assert score.ious.tolist() == pytest.approx([1 / 3, 2 / 3, 1 / 2])
    assert score.score == pytest.approx(0.5)
    assert score.pixel_accuracy == pytest.approx(4 / 6)


def test_one_matrix_for_all_pictures_whatever_their_sizes():
    whole, parts = MeanIoU(network_classes(4)), MeanIoU(network_classes(4))
    rng = np.random.default_rng(0)
    for size in ((6, 5), (3, 8)):
        truth, found = (rng.integers(0, 4, size).astype(np.uint8) for _ in range(2))
        whole.add_classes(found, truth)
        for row in range(size[0]):
            parts.add(one_hot(found[row : row + 1], 4), [truth[row : row + 1]])
    assert (whole.confusion == parts.confusion).all()
    assert whole.confusion.sum() == 54


def test_a_class_that_is_nowhere_does_not_count():
    score = MeanIoU(network_classes(5))
    score.add_classes(np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, 1]], np.uint8))
    assert score.score == pytest.approx((3 / 4 + 0) / 2)


def test_pictures_and_labels_go_in_pairs():
    with pytest.raises(ValueError, match="shorter"):
        MeanIoU(network_classes(3)).add(one_hot(np.zeros((2, 2)), 3), [])


def test_cityscapes_scored_on_camvid():
    score = MeanIoU(CAMVID)
    # truck, bus, wall; then a road under void.
    found, truth = np.array([[14, 15, 3, 0]], np.uint8), np.array([[8, 8, 1, 11]], np.uint8)
    score.add(one_hot(found, 19), [truth])
    assert score.confusion.sum() == 3
    assert score.pixel_accuracy == 1.0
    assert score.ious[[8, 1]].tolist() == [1.0, 1.0]
