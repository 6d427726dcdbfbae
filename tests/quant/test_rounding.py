"""A layer's weights as integers: to the nearest, or making up for one another, with channels' factors and groups."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from quant.networks.layout import Operation
from quant.ptq.encoding import Encoding
from quant.ptq.graph import FloatLayer
from quant.ptq.moments import Moments, moments
from quant.ptq.options import Options
from quant.ptq.rounding import Rounded, per_input, rounded

INPUTS, OUTPUTS, SIZE = 12, 8, (6, 6)
MINMAX = Options(weights="minmax")


def layer(kind: str, kernel: int, groups: int) -> FloatLayer:
    generator = torch.Generator().manual_seed(groups)
    outputs = INPUTS if kind == "dw" else OUTPUTS
    op = Operation("it", kind, ("x",), INPUTS, outputs, SIZE, SIZE, kernel, groups=groups)
    weight = torch.randn(outputs, INPUTS // groups, kernel, kernel, generator=generator)
    return FloatLayer(op, weight, torch.randn(outputs, generator=generator))


def inputs() -> Tensor:
    """Pictures whose channels and pixels have much in common, and means."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(20, 2, *SIZE, generator=generator)
    mixed = torch.einsum("oi,nihw->nohw", torch.randn(INPUTS, 2, generator=generator), x)
    return functional.avg_pool2d(mixed, 3, 1, 1) + 0.1 * torch.randn(20, INPUTS, *SIZE, generator=generator) + 2


def source(spread: float) -> Encoding:
    factors = (spread * torch.randn(INPUTS, generator=torch.Generator().manual_seed(4), dtype=torch.float64)).exp()
    return Encoding(0.02, factors, torch.zeros_like(factors), "equalization")


def seen(of: FloatLayer) -> Moments:
    return moments(of.op, inputs(), torch.Generator())


def error(of: FloatLayer, found: Rounded, given: Encoding) -> Tensor:
    """What is wrong with the layer's sums, ``[O, pixels]``."""
    real = found.weight * found.scales.reshape(-1, 1, 1, 1) / per_input(given.factors, of)
    sums = [
        functional.conv2d(inputs().double(), weight.double(), bias.double(), 1, of.op.kernel // 2, 1, of.op.groups)
        for weight, bias in ((of.weight, of.bias), (real, found.bias))
    ]
    return (sums[1] - sums[0]).transpose(0, 1).flatten(1)


LAYERS = [("pw", 1, 1), ("pw", 1, 2), ("conv", 3, 1), ("dw", 3, INPUTS)]


@pytest.mark.parametrize("kind", LAYERS)
def test_without_moments_weights_are_rounded_to_the_nearest(kind: tuple[str, int, int]) -> None:
    of, given = layer(*kind), source(0.5)
    found = rounded(of, given, None, None, MINMAX)
    wanted = of.weight.double() * per_input(given.factors, of)
    assert float((wanted / found.scales.reshape(-1, 1, 1, 1) - found.weight).abs().max()) <= 0.5 + 1e-9
    assert found.weight.abs().flatten(1).amax(1).tolist() == [127] * of.op.c_out
    assert torch.equal(found.bias, of.bias.double())


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("kind", LAYERS)
def test_sums_err_less_than_those_of_the_nearest(kind: tuple[str, int, int], spread: float, corrected: bool) -> None:
    of, given = layer(*kind), source(spread)
    mean = inputs().double().mean((0, 2, 3)) if corrected else None
    plain, better = (rounded(of, given, mean, what, MINMAX) for what in (None, seen(of)))
    assert torch.equal(plain.scales, better.scales)
    assert float(better.weight.abs().max()) <= 127
    apart = [error(of, one, given) for one in (plain, better)]
    if corrected:
        # A mean of the sums is the bias's affair.
        apart = [one - one.mean(1, keepdim=True) for one in apart]
    assert float(apart[1].square().mean()) < 0.7 * float(apart[0].square().mean())


@pytest.mark.parametrize("what", ["nearest", "compensated"])
def test_biases_take_the_mean_s_error(what: str) -> None:
    of, given = layer("pw", 1, 2), source(1.0)
    found = rounded(of, given, inputs().double().mean((0, 2, 3)), seen(of) if what == "compensated" else None, MINMAX)
    assert float(error(of, found, given).mean(1).abs().max()) < 1e-5
    assert not torch.equal(found.bias, of.bias.double())


def test_a_group_s_channels_have_their_own_factors() -> None:
    of, given = layer("pw", 1, 2), source(1.0)
    half, found = INPUTS // 2, rounded(of, given, None, seen(of), MINMAX)
    for group in range(2):
        channels, outputs = slice(half * group, half * (group + 1)), slice(OUTPUTS // 2 * group, OUTPUTS // 2 * (group + 1))
        op = Operation("it", "pw", ("x",), half, OUTPUTS // 2, SIZE, SIZE)
        alone = FloatLayer(op, of.weight[outputs], of.bias[outputs])
        encoding = Encoding(given.scale, given.factors[channels], given.zeros[channels], given.remedy)
        part = rounded(alone, encoding, None, moments(op, inputs()[:, channels], torch.Generator()), MINMAX)
        assert torch.equal(part.weight, found.weight[outputs])
        assert torch.equal(part.scales, found.scales[outputs])
