"""Second moments of layers' inputs: each kind of layer against its own products, sums of several batches, large means."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from quant.networks.layout import Operation
from quant.ptq import moments as module
from quant.ptq.moments import Moments, moments


def operation(
    kind: str, c_in: int, c_out: int, size: tuple[int, int], kernel: int = 1, stride: int = 1, groups: int = 1
) -> Operation:
    size_out = (-(-size[0] // stride), -(-size[1] // stride))
    return Operation("it", kind, ("x",), c_in, c_out, size, size_out, kernel, stride, groups)


LAYERS = {
    "conv": operation("conv", 3, 8, (8, 6), kernel=3, stride=2),
    "pw": operation("pw", 6, 4, (5, 4)),
    "pw in groups": operation("pw", 6, 9, (5, 4), groups=3),
    "dw": operation("dw", 4, 4, (6, 5), kernel=3, groups=4),
    "strided dw": operation("dw", 4, 4, (6, 8), kernel=5, stride=2, groups=4),
    "fc": operation("fc", 7, 3, (1, 1)),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(op: Operation, count: int, seed: int = 0) -> Tensor:
    """Correlated inputs of ``count`` pictures, with means."""
    shape = (count, op.c_in) if op.kind == "fc" else (count, op.c_in, *op.size_in)
    x = torch.randn(shape, generator=generator(seed))
    return x + 0.8 * x.roll(1, 1) + 0.5 * x.roll(1, -1) + 1.5


def rows(op: Operation, x: Tensor) -> Tensor:
    """The inputs of every product, ``[G, rows, K]``."""
    if x.ndim == 2:
        return x[None]
    taps = functional.unfold(x, op.kernel, padding=op.kernel // 2, stride=op.stride)
    return taps.reshape(len(x), op.groups, -1, taps.shape[2]).permute(1, 0, 3, 2).flatten(1, 2)


def require(found: Moments, wanted: Tensor) -> None:
    """Require moments to be those of the rows ``[G, rows, K]``."""
    exact = wanted.double()
    assert found.count == exact.shape[1]
    assert {found.mean.dtype, found.covariance.dtype} == {torch.float64}
    torch.testing.assert_close(found.mean, exact.mean(1), rtol=1e-5, atol=1e-5)
    for group, part in enumerate(exact):
        covariance = torch.cov(part.T, correction=0).reshape(part.shape[1], part.shape[1])
        torch.testing.assert_close(found.covariance[group], covariance, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.product[group], part.T @ part / len(part), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_products_of_every_kind(name: str) -> None:
    op = LAYERS[name]
    x = batch(op, 3)
    require(moments(op, x, generator()), rows(op, x))


@pytest.mark.parametrize("name", LAYERS)
def test_weights_multiply_inputs_in_this_order(name: str) -> None:
    op = LAYERS[name]
    x = batch(op, 3).double()
    weight = torch.randn(op.c_out, op.c_in // op.groups, op.kernel, op.kernel, generator=generator(1), dtype=torch.float64)
    if op.kind == "fc":
        sums = functional.linear(x, weight.flatten(1)).T
    else:
        sums = functional.conv2d(x, weight, None, op.stride, op.kernel // 2, 1, op.groups).transpose(0, 1).flatten(1)
    found, flat = moments(op, x.float(), generator()), weight.reshape(op.groups, op.c_out // op.groups, -1)
    mean = (flat @ found.mean[:, :, None]).flatten()
    variance = ((flat @ found.covariance) * flat).sum(2).flatten()
    torch.testing.assert_close(mean, sums.mean(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(variance, sums.var(1, correction=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_batches_together_are_one(name: str) -> None:
    op = LAYERS[name]
    x = torch.cat([batch(op, 2), batch(op, 1, seed=1) - 9, batch(op, 4, seed=2) * 3])
    one, two, three = (moments(op, part, generator()) for part in x.split((2, 1, 4)))
    require(one + two + three, rows(op, x))
    require(one + (two + three), rows(op, x))


def test_a_large_mean_hides_nothing() -> None:
    op = LAYERS["pw"]
    x = batch(op, 4).mul(64).round() / 64
    wanted = moments(op, x, generator()).covariance
    # 4096 takes no bits of these values away, in float32 either.
    far = [moments(op, part + 4096, generator()) for part in x.split(2)]
    torch.testing.assert_close((far[0] + far[1]).covariance, wanted, rtol=1e-4, atol=1e-4)


def test_pixels_are_drawn_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    op = operation("dw", 2, 2, (40, 40), kernel=3, groups=2)
    x = batch(op, 2)
    found = moments(op, x, generator())
    assert found.count == 2 * module.PIXELS < 2 * 1600
    again = moments(op, x, generator())
    assert torch.equal(found.mean, again.mean)
    assert torch.equal(found.scatter, again.scatter)
    assert not torch.equal(found.mean, moments(op, x, generator(1)).mean)
    # The same pixels of all pictures, each with its neighbourhood.
    monkeypatch.setattr(torch, "randint", lambda high, size, generator: torch.arange(high - size[0], high))
    require(moments(op, x, generator()), rows(op, x).unflatten(1, (2, -1))[:, :, 1600 - module.PIXELS :].flatten(1, 2))


def test_drawn_pixels_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    op, together = operation("pw", 3, 1, (10, 10)), None
    x = batch(op, 5)
    wanted = moments(op, x, generator())
    monkeypatch.setattr(module, "PIXELS", 50)
    source = generator()
    for _ in range(100):
        found = moments(op, x, source)
        together = found if together is None else together + found
    assert together is not None
    assert together.count == 100 * 5 * 50
    torch.testing.assert_close(together.mean, wanted.mean, rtol=0.03, atol=0)
    torch.testing.assert_close(together.covariance, wanted.covariance, rtol=0.1, atol=0.05)
