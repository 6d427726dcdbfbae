"""The weights of channels' errors: against the Jacobian, where it is known."""

import numpy as np
import pytest
import torch

from quant.reconstruct.sensitivity import sensitivities
from tests.quant.reconstruct.conftest import Prepared


def test_before_the_last_layer_it_is_the_weights_squared_norm(prepared: Prepared):
    found = sensitivities(prepared.network, prepared.layers, ["head.ln", "head.fc2"], prepared.pictures, 0)
    expected = prepared.layers[-1].weight.square().sum(0)
    assert found["head.ln"].shape == expected.shape
    # Sixteen random directions: each estimate is right to about a third.
    assert np.corrcoef(found["head.ln"], expected)[0, 1] > 0.4
    assert float(found["head.ln"].mean()) == pytest.approx(1.0)
    assert 0.1 < float(found["head.fc2"].min()) < float(found["head.fc2"].max()) < 4


def test_the_same_seed_gives_the_same(prepared: Prepared):
    one, two, other = (
        sensitivities(prepared.network, prepared.layers, ["S1.0.MB.pw2"], prepared.pictures, seed)["S1.0.MB.pw2"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
