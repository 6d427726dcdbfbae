"""What calibration records, in several batches, against all pictures at once."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from quant.data import Digits
from quant.networks.model import EfficientViT
from quant.ptq.graph import FloatLayer, fold, run
from quant.ptq.moments import PIXELS, WEIGHTED
from quant.ptq.observe import BATCH, Observations, observe

#: Two batches and a part of one.
COUNT, KEPT = 2 * BATCH + 3, BATCH + 2


@pytest.fixture(scope="module")
def layers(network: EfficientViT) -> list[FloatLayer]:
    return fold(network)


@pytest.fixture(scope="module")
def batch(pictures: Digits) -> Tensor:
    return torch.from_numpy(pictures.train[:COUNT])


@pytest.fixture(scope="module")
def found(network: EfficientViT, layers: list[FloatLayer], batch: Tensor) -> Observations:
    return observe(network, layers, batch, KEPT)


@pytest.fixture(scope="module")
def tensors(network: EfficientViT, layers: list[FloatLayer], batch: Tensor) -> dict[str, Tensor]:
    """Every tensor, for all pictures at once."""
    kept = {"image": network.normalise(batch)}
    run(network, layers, batch, lambda layer, output, branch: kept.update({layer.op.name: output.clone()}))
    return kept


def test_extremes_and_means(found: Observations, tensors: dict[str, Tensor]) -> None:
    assert found.statistics.keys() == tensors.keys() - {"image"}
    for name, statistics in found.statistics.items():
        flat = tensors[name].transpose(0, 1).flatten(1)
        torch.testing.assert_close(statistics.low, flat.amin(1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(statistics.high, flat.amax(1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(statistics.mean, flat.double().mean(1), rtol=1e-4, atol=1e-4)


def test_extremes_without_a_picture(found: Observations, tensors: dict[str, Tensor]) -> None:
    for name, statistics in found.statistics.items():
        lows, highs = statistics.others()
        assert len(lows) == len(highs) == COUNT
        for picture in range(COUNT):
            others = torch.cat([tensors[name][:picture], tensors[name][picture + 1 :]]).transpose(0, 1).flatten(1)
            torch.testing.assert_close(lows[picture], others.amin(1), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(highs[picture], others.amax(1), rtol=1e-4, atol=1e-4)


def test_extremes_of_the_only_picture(network: EfficientViT, layers: list[FloatLayer], batch: Tensor) -> None:
    for statistics in observe(network, layers, batch[:1], 1).statistics.values():
        low, high = statistics.others()
        assert torch.equal(low[0], statistics.low) and torch.equal(high[0], statistics.high)


def test_attention_s_sums_of_every_picture(found: Observations, layers: list[FloatLayer], tensors: dict[str, Tensor]) -> None:
    read = {name: layer.op.dim for layer in layers if layer.op.kind == "attention" for name in layer.op.inputs}
    assert found.sums.keys() == found.attention.keys() == read.keys()
    for name, dim in read.items():
        parts = tensors[name].double().unflatten(1, (-1, 3, dim)).flatten(4)
        keys, values = parts[:, :, 1].relu(), parts[:, :, 2]
        z = torch.einsum("nhip,nhjp->nhij", keys, values).abs()
        assert found.sums[name].z.shape == (COUNT, z.shape[1], dim, dim)
        torch.testing.assert_close(found.sums[name].z.double(), z, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.sums[name].ksum.double(), keys.sum(-1), rtol=1e-3, atol=1e-3)
        # The largest of all batches, not of the last one alone.
        assert bool((found.sums[name].z.amax(0) > found.sums[name].z[2 * BATCH :].amax(0)).any())
        torch.testing.assert_close(found.attention[name], tensors[name][:KEPT], rtol=1e-4, atol=1e-4)


def test_moments_give_the_sums_of_every_layer(found: Observations, layers: list[FloatLayer], tensors: dict[str, Tensor]) -> None:
    weighted = [layer for layer in layers if layer.op.kind in WEIGHTED]
    assert found.moments.keys() == {layer.op.name for layer in weighted}
    for layer in weighted:
        op, x, weight = layer.op, tensors[layer.op.inputs[0]].double(), layer.weight.double()
        # No pixel is left to chance in so small a network.
        assert op.size_out[0] * op.size_out[1] <= PIXELS
        if op.kind == "fc":
            sums = functional.linear(x, weight).T
        else:
            sums = functional.conv2d(x, weight, None, op.stride, op.kernel // 2, 1, op.groups).transpose(0, 1).flatten(1)
        moments, flat = found.moments[op.name], weight.reshape(op.groups, op.c_out // op.groups, -1)
        assert moments.count == sums.shape[1]
        mean, variance = sums.mean(1), sums.var(1, correction=0)
        near = 1e-3 * float(variance.max())
        torch.testing.assert_close((flat @ moments.mean[:, :, None]).flatten(), mean, rtol=1e-3, atol=near**0.5 / 10)
        torch.testing.assert_close(((flat @ moments.covariance) * flat).sum(2).flatten(), variance, rtol=1e-3, atol=near / 10)
        square = ((flat @ moments.product) * flat).sum(2).flatten()
        torch.testing.assert_close(square, sums.square().mean(1), rtol=1e-3, atol=near)


def test_moments_only_where_they_are_asked_for(
    network: EfficientViT, layers: list[FloatLayer], batch: Tensor, found: Observations
) -> None:
    without = observe(network, layers, batch, KEPT, with_moments=False)
    assert not without.moments
    assert without.statistics.keys() == found.statistics.keys()
    assert all(torch.equal(without.statistics[name].high, one.high) for name, one in found.statistics.items())


def test_the_same_pictures_give_the_same(
    network: EfficientViT, layers: list[FloatLayer], batch: Tensor, found: Observations
) -> None:
    again = observe(network, layers, batch, KEPT)
    for name, moments in found.moments.items():
        assert torch.equal(again.moments[name].product, moments.product)
    for name, statistics in found.statistics.items():
        assert torch.equal(again.statistics[name].samples, statistics.samples)
