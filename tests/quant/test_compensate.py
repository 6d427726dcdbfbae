"""Weights that make up for one another's rounding, against rounding to the nearest."""

import pytest
import torch
from torch import Tensor

from quant.ptq import compensate
from quant.ptq.compensate import compensated

TOP, MANY = 7, 1 << 20


def weights(groups: int, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """Normal weights and each row's scale, which ``TOP`` times is the row's largest."""
    generator = torch.Generator().manual_seed(outputs + inputs)
    wanted = torch.randn(groups, outputs, inputs, generator=generator, dtype=torch.float64)
    return wanted, wanted.abs().amax(2) / TOP


def related(groups: int, inputs: int) -> Tensor:
    """Covariances of inputs that have most of their variance in common, and differ in size."""
    generator = torch.Generator().manual_seed(inputs)
    mixed = torch.randn(groups, inputs, 3, generator=generator, dtype=torch.float64)
    size = torch.randn(groups, inputs, generator=generator, dtype=torch.float64).exp()
    covariance = mixed @ mixed.transpose(1, 2) + 0.05 * torch.eye(inputs, dtype=torch.float64)
    return covariance * size[:, :, None] * size[:, None]


def nearest(wanted: Tensor, scales: Tensor, top: int = TOP) -> Tensor:
    return (wanted / scales[:, :, None]).round().clamp(-top, top)


def errors(found: Tensor, wanted: Tensor, scales: Tensor, moments: Tensor) -> Tensor:
    """Mean square errors of the rows' sums, ``[G, O]``."""
    error = wanted - found * scales[:, :, None]
    return ((error @ moments) * error).sum(2)


def test_by_hand() -> None:
    # Both inputs are one and the same: 0.4 and 0.4 are 0 and 0 to the nearest, and together nearly 1.
    wanted, one = torch.tensor([[[0.4, 0.4]]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    same = torch.ones(1, 2, 2, dtype=torch.float64)
    assert compensated(wanted, one, same, MANY, TOP).tolist() == [[[0.0, 1.0]]]
    # The second is the first one times -2, and rounded first: what is lost of it the first makes up for, and so is not 1 or 2.
    opposite = torch.tensor([[[1.0, -2.0], [-2.0, 4.0]]], dtype=torch.float64)
    for pair, found in (((0.8, 1.4), [0.0, 1.0]), ((1.6, 0.4), [1.0, 0.0])):
        assert compensated(torch.tensor([[pair]], dtype=torch.float64), one, opposite, MANY, TOP).tolist() == [[found]]


@pytest.mark.parametrize("top", [1, 7, 127])
def test_integers_of_the_range(top: int) -> None:
    wanted, scales = weights(2, 5, 20)
    # Steps of half the size that all would need: some weights are out of range already, and others are pushed there.
    found = compensated(wanted, scales * TOP / top / 2, related(2, 20), MANY, top)
    assert torch.equal(found, found.round())
    assert float(found.amax()) == top
    assert float(found.amin()) == -top


def test_inputs_that_have_nothing_in_common() -> None:
    wanted, scales = weights(2, 6, 30)
    spread = torch.rand(2, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.01
    assert torch.equal(compensated(wanted, scales, torch.diag_embed(spread), MANY, TOP), nearest(wanted, scales))


@pytest.mark.parametrize("inputs", [9, 40, 150])
def test_inputs_that_vary_together(inputs: int) -> None:
    wanted, scales = weights(2, 12, inputs)
    moments = related(2, inputs)
    better, plain = (
        errors(found, wanted, scales, moments)
        for found in (compensated(wanted, scales, moments, MANY, TOP), nearest(wanted, scales))
    )
    assert float(better.sum()) < 0.5 * float(plain.sum())
    assert float((better < plain).double().mean()) > 0.9


def test_rows_and_groups_are_apart() -> None:
    wanted, scales = weights(3, 6, 20)
    moments = related(3, 20)
    found = compensated(wanted, scales, moments, MANY, TOP)
    for group in range(3):
        for row in range(6):
            alone = wanted[group, row][None, None], scales[group, row][None, None], moments[group][None]
            assert torch.equal(compensated(*alone, MANY, TOP)[0, 0], found[group, row])


def test_the_order_of_inputs_is_of_no_account() -> None:
    wanted, scales = weights(1, 6, 20)
    moments, order = related(1, 20), torch.randperm(20, generator=torch.Generator().manual_seed(0))
    mixed = compensated(wanted[:, :, order], scales, moments[:, order][:, :, order], MANY, TOP)
    assert torch.equal(mixed, compensated(wanted, scales, moments, MANY, TOP)[:, :, order])


def test_neither_is_the_unit_of_the_inputs() -> None:
    wanted, scales = weights(1, 6, 20)
    found = compensated(wanted, scales, related(1, 20), MANY, TOP)
    assert torch.equal(compensated(wanted, scales, related(1, 20) * 2.0**-40, MANY, TOP), found)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_only_save_time(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, scales = weights(2, 4, 150)
    moments = related(2, 150)
    monkeypatch.setattr(compensate, "_BLOCK", 150)
    whole = compensated(wanted, scales, moments, MANY, TOP)
    monkeypatch.setattr(compensate, "_BLOCK", block)
    assert torch.equal(compensated(wanted, scales, moments, MANY, TOP), whole)


def test_dead_inputs_do_no_harm() -> None:
    wanted, scales = weights(1, 8, 20)
    moments, alive = related(1, 20), [k for k in range(20) if k not in (3, 11)]
    moments[:, [3, 11]] = 0
    moments[:, :, [3, 11]] = 0
    found = compensated(wanted, scales, moments, MANY, TOP)
    assert torch.equal(found[:, :, [3, 11]], nearest(wanted, scales)[:, :, [3, 11]])
    assert float(errors(found, wanted, scales, moments).sum()) < 0.5 * float(
        errors(nearest(wanted, scales), wanted, scales, moments).sum()
    )
    assert not torch.equal(found[:, :, alive], nearest(wanted, scales)[:, :, alive])


def test_inputs_that_are_all_dead() -> None:
    wanted, scales = weights(1, 8, 20)
    nothing = torch.zeros(1, 20, 20, dtype=torch.float64)
    assert torch.equal(compensated(wanted, scales, nothing, MANY, TOP), nearest(wanted, scales))


def test_few_rows_say_little() -> None:
    wanted, scales = weights(1, 16, 40)
    moments = related(1, 40)
    distance = [
        float((compensated(wanted, scales, moments, rows, TOP) - nearest(wanted, scales)).abs().mean())
        for rows in (MANY, 40, 10, 1)
    ]
    assert distance == sorted(distance, reverse=True)
    assert distance[0] > 2 * distance[-1]
    # Two rows of 40 inputs: singular.
    rows = torch.randn(2, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = compensated(wanted, scales, (rows.T @ rows / 2)[None], 2, TOP)
    assert float((found - nearest(wanted, scales)).abs().amax()) <= 1
