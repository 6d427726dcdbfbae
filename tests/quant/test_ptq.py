"""Ranges, remedies, factors: each on numbers small enough to know the answer."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quant.networks.layout import operations
from quant.networks.spec import spec
from quant.ptq.encoding import find_range, plain, scaled, shifted
from quant.ptq.fixed_point import fixed_point
from quant.ptq.observe import Statistics
from quant.ptq.options import METHODS, Options
from quant.ptq.ranges import search_activation, weight_scales
from quant.ptq.remedies import migrated_tensors, migration_factors, shifted_tensors, shifts
from triovit.errors import UserError


def seen(samples: list[list[float]]) -> Statistics:
    rows = torch.tensor(samples)
    low, high = rows.amin(0), rows.amax(0)
    return Statistics(low, high, low, high, rows.double().sum(0), len(rows), rows.abs().amax(0), [rows])


@given(st.floats(2.0**-30, 65535))
def test_fixed_point(factor: float) -> None:
    mult, shift = fixed_point([factor], "x")
    assert 0 <= shift[0] <= 47
    assert 1 << 15 <= mult[0] < 1 << 16
    assert abs(math.ldexp(int(mult[0]), -int(shift[0])) - factor) <= factor * 2.0**-16


def test_fixed_point_of_extremes() -> None:
    mult, shift = fixed_point([0.0, 2.0**-50], "x")
    assert (mult.tolist(), shift.tolist()) == ([0, 0], [15, 47])
    with pytest.raises(UserError) as caught:
        fixed_point([1.0, 70000.0], "head.fc1")
    assert str(caught.value) == (
        "layer head.fc1: channel 1 needs a factor of 7e+04, and at most 65535 can be had; "
        "calibrate with pictures like those the network was trained on"
    )


def test_migration_factors_follow_the_formula() -> None:
    statistics = seen([[0.0, 0.0, -0.3, 0.0]] * 99 + [[1.0, 8.0, -0.2, 0.001]])
    common = max(float(torch.quantile(statistics.samples.flatten(), 0.99)), (1 + 8 - 0.2 + 0.001) / 4)
    wanted = [1 / common, 8 / common, 1.0, 0.1]
    torch.testing.assert_close(migration_factors(statistics), torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=0)


def test_shifting_centres_every_channel() -> None:
    statistics = seen([[0.0, 1.0], [2.0, 4.0]])
    moved = shifts(statistics)
    assert moved.tolist() == [1.0, 2.5]
    encoding = shifted(statistics, moved, Options(activations="minmax"))
    assert encoding.scale == pytest.approx(1.5 / 127)
    assert encoding.zeros.tolist() == [-85, -212]
    assert plain(statistics, Options(activations="minmax"), symmetric=False).zero == -128


def test_a_zero_point_always_holds_the_shift() -> None:
    moved = torch.tensor([100.05, 0.05], dtype=torch.float64)
    encoding = shifted(seen([[100.0, 0.0], [100.1, 0.1]]), moved, Options(activations="minmax"))
    assert encoding.zeros.tolist() == [-511, 0]
    assert encoding.scale == pytest.approx(100.05 / 511)


def test_migration_shares_one_zero_point() -> None:
    statistics = seen([[-0.375, -0.1], [2.0, 40.0]])
    encoding = scaled(statistics, torch.tensor([1.0, 20.0], dtype=torch.float64), Options(activations="minmax"), "migration")
    assert encoding.scale == pytest.approx(2.375 / 255)
    assert encoding.zeros.tolist() == [-88, -88]


@pytest.mark.parametrize("method", METHODS)
def test_ranges_hold_zero(method: str) -> None:
    statistics = seen([[3.0], [4.0]])
    low, high = find_range(statistics, torch.ones(1), torch.zeros(1), Options(activations=method), symmetric=False)
    assert low == 0 < high <= 4


def test_search_gives_up_an_outlier() -> None:
    values = torch.cat([torch.linspace(-1, 1, 200_000), torch.tensor([4.0])])
    low, high = search_activation(values, -4.0, 4.0, symmetric=True)
    assert 1 <= -low == high < 4


def test_weight_search_is_no_worse_than_the_maximum() -> None:
    weight = torch.randn(6, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(scale: torch.Tensor) -> torch.Tensor:
        return ((weight / scale[:, None]).round().clamp(-127, 127) * scale[:, None] - weight).abs().pow(2.4).sum(1)

    assert bool((loss(weight_scales(weight, "mse")) <= loss(weight_scales(weight, "minmax"))).all())
    assert torch.equal(weight_scales(weight, "minmax"), weight.abs().amax(1) / 127)


def test_where_the_remedies_apply() -> None:
    ops = operations(spec("digits"))
    blocks = ["S1.0.MB", "S2.0.MB", "S2.1.MB", "S3.0.MB", "S3.1.MB"]
    assert migrated_tensors(ops) == {f"{block}.pw1" for block in blocks}
    assert shifted_tensors(ops) == {"stem.1.dw", *(f"{block}.dw" for block in blocks)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activations": "best"}, "option activations is 'best'; choose one of minmax, percentile, ema, mse"),
        ({"weights": "ema"}, "option weights is 'ema'; choose one of minmax, mse"),
        ({"percentile": 0.2}, "option percentile is 0.2; choose a share above 0.5, at most 1"),
        ({"learned_steps": "some"}, "option learned_steps is 'some'; choose one of attention, all, none"),
        ({"code_bits": 5}, "option code_bits is 5; choose 4 or 10"),
        ({"z_bits": 16}, "option z_bits is 16; choose 8 or 15"),
        ({"attention_pictures": 0}, "option attention_pictures is 0; choose at least 1"),
    ],
)
def test_refused_options(settings: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Options(**settings)
    assert str(caught.value) == message


def test_numpy_is_enough_for_factors() -> None:
    assert all(array.dtype == np.int32 for array in fixed_point(np.array([0.5, 0.25]), "x"))
