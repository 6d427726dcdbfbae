"""A residual's multipliers: whole numbers for which the sum's steps are widened a little."""

import pytest
import torch

from quant.networks.layout import Operation
from quant.ptq.encoding import Encoding
from quant.ptq.export import Exporter
from quant.ptq.graph import FloatLayer
from quant.ptq.observe import Observations, Statistics
from quant.ptq.options import Options
from quant.replay import compute

CHANNELS = 12
#: Makes a channel's residual nothing beside the sum.
TINY = 1e-7


def statistics(branch: torch.Tensor) -> Statistics:
    return Statistics(-branch, branch, -branch, branch, torch.zeros(CHANNELS), 1, branch, [torch.zeros(1, CHANNELS)])


@pytest.mark.parametrize("seed", range(8))
def test_the_trunk_loses_nothing(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def spread() -> torch.Tensor:
        return torch.randn(CHANNELS, generator=generator, dtype=torch.float64).exp()

    source = Encoding(0.013, spread(), torch.full((CHANNELS,), 5.0, dtype=torch.float64), "equalization")
    source.factors[3] *= TINY
    target = Encoding(0.021, spread(), torch.full((CHANNELS,), -9.0, dtype=torch.float64), "equalization")
    seen = Observations({"b": statistics(spread().float())})
    op = Operation("b", "pw", ("a",), CHANNELS, CHANNELS, (2, 2), (2, 2), residual="a")
    layer = FloatLayer(op, torch.randn(CHANNELS, CHANNELS, 1, 1, generator=generator), torch.zeros(CHANNELS))
    exporter = Exporter({"a": source, "b": target}, seen, Options(bias_correction=False, compensation=False))
    made = exporter.layer(layer, logits=False)
    assert made.post is not None
    assert made.post.residual is not None
    assert (made.post.residual.tensor, made.post.residual.zero) == ("a", 5)

    wider = exporter.encodings["b"]
    three = torch.from_numpy(made.arrays["three"]).double()
    step = wider.scale * wider.factors * 2.0**-made.post.out_shift
    residual = source.scale * source.factors
    aligned = residual / (target.scale * target.factors) * 2.0**made.post.out_shift >= 1
    assert int(three[3]) == 0
    assert int(aligned.sum()) >= CHANNELS // 2
    assert bool((three[aligned] >= 1).all())
    torch.testing.assert_close((three * step)[aligned], residual[aligned], rtol=1e-12, atol=0)
    # Steps grow, by less than one part in the multiplier before; a channel that cannot be aligned keeps its own.
    growth = wider.factors / target.factors
    assert bool((growth >= 1).all())
    assert bool((growth < 2).all())
    assert bool((growth[~aligned] == 1).all())
    # Nothing that was seen saturates t: 16 bits hold half as much again as the largest branch.
    assert float((seen.statistics["b"].branch / step).max()) * 1.5 <= 32767


def test_zero_points_of_the_residual_s_channels() -> None:
    # The second step takes off one zero point; the bias has what is left of each channel's own.
    generator = torch.Generator().manual_seed(0)
    size, zeros = (4, 4), torch.linspace(-300, 300, CHANNELS, dtype=torch.float64).round()
    source = Encoding(0.013, torch.linspace(0.5, 2, CHANNELS, dtype=torch.float64), zeros, "equalization")
    read = Encoding(0.02, torch.ones(CHANNELS, dtype=torch.float64), torch.zeros(CHANNELS, dtype=torch.float64))
    codes = {name: torch.randint(-128, 128, (2, CHANNELS, *size), generator=generator) for name in ("a", "x")}
    shape = (1, -1, 1, 1)
    real = (codes["a"] - zeros.reshape(shape)) * source.scale * source.factors.reshape(shape)
    weight = torch.randn(CHANNELS, CHANNELS, 1, 1, generator=generator) / CHANNELS
    branch = torch.nn.functional.conv2d(codes["x"].double() * 0.02, weight.double())
    wanted = real + branch
    middle = (wanted.amax((0, 2, 3)) + wanted.amin((0, 2, 3))) / 2
    steps = (wanted.amax((0, 2, 3)) - wanted.amin((0, 2, 3))) / 240
    target = Encoding(1.0, steps, (-middle / steps).round().clamp(-511, 511), "equalization")
    op = Operation("b", "pw", ("x",), CHANNELS, CHANNELS, size, size, residual="a")
    layer = FloatLayer(op, weight, torch.zeros(CHANNELS))
    seen = Observations({"b": statistics(branch.abs().amax((0, 2, 3)).float())})
    exporter = Exporter({"a": source, "x": read, "b": target}, seen, Options(bias_correction=False, compensation=False))
    made = exporter.layer(layer, logits=False)
    assert made.post is not None
    assert made.post.residual is not None
    assert made.post.residual.zero == -27

    after = exporter.encodings["b"]
    found = (compute(made, dict(codes)) - after.zeros.reshape(shape)) * (after.scale * after.factors).reshape(shape)
    apart = (found - wanted).abs() / (after.scale * after.factors).reshape(shape)
    assert float(apart.max()) < 1.5
    assert float(apart.mean()) < 0.4
