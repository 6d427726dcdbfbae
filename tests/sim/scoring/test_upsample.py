"""Bilinear logits, against torch."""

import numpy as np
import pytest

from sim.scoring.upsample import bilinear, weights


@pytest.mark.parametrize(
    ("size", "target"), [((5, 7), (40, 56)), ((6, 8), (45, 60)), ((12, 9), (12, 5)), ((1, 3), (4, 3)), ((9, 4), (7, 31))]
)
def test_as_torch(size, target):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(3).normal(size=(4, *size)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(values)[None], size=target, mode="bilinear", align_corners=False)
    found = bilinear(values, target)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted[0].numpy(), rtol=0, atol=1e-5)


def test_integers_at_their_own_size_stay_as_they_are():
    logits = np.random.default_rng(4).integers(-(1 << 15), 1 << 15, (3, 4, 5), np.int16)
    assert (bilinear(logits, (4, 5)) == logits).all()


def test_every_place_is_a_mean():
    for size, target in ((3, 10), (10, 3), (1, 5)):
        matrix = weights(size, target)
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
        assert matrix.min() >= 0
