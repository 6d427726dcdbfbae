"""Which class a label value is."""

import numpy as np
import pytest

from sim.scoring.classes import CAMVID, label_classes, network_classes
from triovit.errors import UserError


def holding(*values: int) -> np.ndarray:
    seen = np.zeros(256, bool)
    seen[list(values)] = True
    return seen


def test_camvid_is_that_of_the_data():
    # road->3, sidewalk->4, building->1, wall->1, fence->7, pole->2, traffic light->6, traffic sign->6, vegetation->5, terrain->5,
    # sky->0, person->9, rider->10, car/truck/bus/train->8, motorcycle/bicycle->10
    assert CAMVID.of_network == (3, 4, 1, 1, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10)
    assert (CAMVID.count, CAMVID.void) == (11, 11)
    assert np.flatnonzero(CAMVID.values()).tolist() == [*range(12)]


def test_the_networks_own():
    classes = network_classes(150)
    assert (classes.count, classes.void, classes.of_network) == (150, 255, tuple(range(150)))
    assert np.flatnonzero(classes.values()).tolist() == [*range(150), 255]


@pytest.mark.parametrize(
    ("name", "count", "seen", "chosen"),
    [
        (None, 19, holding(0, 11), "camvid"),
        (None, 19, holding(0, 12), "network"),
        (None, 19, holding(0, 255), "network"),
        (None, 11, holding(0, 10), "network"),
        ("network", 19, holding(0, 11), "network"),
        ("camvid", 19, holding(0, 255), "camvid"),
    ],
)
def test_choice(name, count, seen, chosen):
    assert label_classes(name, count, seen).name == chosen


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("camvid", 150, "classes camvid need a network of Cityscapes' 19 classes, and this one has 150; choose network"),
        ("voc", 19, "classes 'voc' are unknown; choose one of camvid, network"),
        ("network", 256, "256 classes cannot be scored with label maps of bytes; at most 255 can"),
    ],
)
def test_refusals(name, count, message):
    with pytest.raises(UserError) as caught:
        label_classes(name, count, holding(0))
    assert str(caught.value) == message
