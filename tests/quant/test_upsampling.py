"""The table of section 9 against torch's bicubic interpolation."""

import pytest
import torch
from torch.nn import functional

from quant import integer
from quant.upsampling import FACTORS, gain, matrix, phase

EXTENTS = (1, 2, 3, 5, 8)


def exact(factor: int, extent: int) -> torch.Tensor:
    """What torch multiplies one axis by, in 1/256: float64 ``[factor * extent, extent]``."""
    unit = torch.eye(extent, dtype=torch.float64).reshape(1, extent, extent, 1)
    enlarged = functional.interpolate(unit, size=(factor * extent, 1), mode="bicubic", align_corners=False)
    return enlarged[0, :, :, 0].T * 256


@pytest.mark.parametrize("extent", EXTENTS)
def test_twice_as_large_is_exact(extent: int) -> None:
    assert torch.equal(torch.tensor(matrix(2, extent), dtype=torch.float64), exact(2, extent))


def test_the_coefficients_of_four_are_rounded() -> None:
    # Inside of a map each row has the four coefficients as they are.
    inside = (torch.tensor(matrix(4, 8), dtype=torch.float64) - exact(4, 8))[8:-8]
    assert 0 < float(inside.abs().max()) <= 1
    nearest = exact(4, 8)[8:-8].round()
    corrected = torch.tensor(matrix(4, 8), dtype=torch.float64)[8:-8] - nearest
    assert bool((corrected.ne(0).sum(1) <= 1).all())
    assert bool((nearest.argmax(1)[corrected.ne(0).any(1)] == corrected.ne(0).float().argmax(1)[corrected.ne(0).any(1)]).all())


def test_maps_twice_as_large_are_torch_s() -> None:
    x = torch.randint(-128, 128, (2, 3, 5, 7), generator=torch.Generator().manual_seed(0))
    wanted = functional.interpolate(x.double(), scale_factor=2, mode="bicubic", align_corners=False) * 2**16
    assert torch.equal(integer.upsample(x, 2).double(), wanted)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("extent", EXTENTS)
def test_rows_sum_to_one(factor: int, extent: int) -> None:
    rows = torch.tensor(matrix(factor, extent))
    assert rows.shape == (factor * extent, extent)
    assert rows.sum(1).tolist() == [256] * (factor * extent)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("extent", EXTENTS)
def test_pixels_outside_are_those_of_the_border(factor: int, extent: int) -> None:
    margin = 3
    wide = torch.tensor(matrix(factor, extent + 2 * margin))[margin * factor : (margin + extent) * factor]
    folded = wide[:, margin : margin + extent].clone()
    folded[:, 0] += wide[:, :margin].sum(1)
    folded[:, -1] += wide[:, margin + extent :].sum(1)
    assert torch.equal(torch.tensor(matrix(factor, extent)), folded)


def test_a_single_pixel_is_repeated() -> None:
    assert matrix(4, 1) == [[256]] * 4


@pytest.mark.parametrize(("factor", "largest"), [(2, 328), (4, 346)])
def test_the_gain_is_reached_and_not_exceeded(factor: int, largest: int) -> None:
    rows = torch.tensor(matrix(factor, 8)).abs().sum(1)
    assert int(rows.max()) == gain(factor) == largest


@pytest.mark.parametrize("factor", FACTORS)
def test_both_directions_are_alike(factor: int) -> None:
    for place in range(factor):
        assert phase(factor, place)[1] == phase(factor, factor - 1 - place)[1][::-1]
