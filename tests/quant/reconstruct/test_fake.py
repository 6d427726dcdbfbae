"""The block in real numbers: equal to the integers, and to itself in parts; its gradients and what is read out of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from quant.ptq.encoding import Encoding
from quant.ptq.rounding import Rounded
from quant.reconstruct.blocks import Block
from quant.reconstruct.fake import Step, Weights
from quant.reconstruct.maps import Maps
from quant.reconstruct.samples import Samples, unrounded
from tests.quant.reconstruct.conftest import Prepared


def test_every_layer_equals_its_integers(prepared: Prepared):
    # The multipliers and the first rounding are left out; now and then the second one falls to the neighbour for it.
    work, _ = prepared.work("stem.0")
    alone = [Block(layer.op.name, (layer,)) for layer in prepared.layers]
    maps, everyone = Maps(prepared.network, alone, prepared.pictures), torch.arange(len(prepared.pictures))
    for index, block in enumerate(alone):
        first = work.first(block)
        exporter = work.fork(first)
        fake, made = work.fake(block, exporter, first), work.layers(work.fork(first), block)
        codes = maps.integers(made, block, everyone)
        with torch.no_grad():
            real = fake({name: unrounded(maps.codes[name], exporter.encodings[name]) for name in block.inputs}).double()
        shape, encoding = (1, -1, *[1] * (real.ndim - 2)), exporter.encodings[block.name]
        if made[0].logits:
            found = (real / made[0].output_scale).round()
        else:
            found = (real / (encoding.scale * encoding.factors).reshape(shape) + encoding.zeros.reshape(shape)).round()
        assert (found == codes).double().mean() > (0.9 if made[0].logits else 0.97), block.name
        assert (found - codes).abs().max() <= 1, block.name
        work.exporter = exporter
        maps.advance(index, block, maps.target(block), codes)


def test_a_crop_gives_what_the_whole_map_gives(prepared: Prepared, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("quant.reconstruct.samples.CROP", 4)
    for name in ("stem.0", "stem.1", "S1.0.MB"):
        work, block = prepared.work(name)
        first = work.first(block)
        exporter = work.fork(first)
        fake = work.fake(block, exporter, first)
        with torch.no_grad():
            whole = fake({name: unrounded(codes, exporter.encodings[name]) for name, codes in work.maps.codes.items()})
        # With the block's own output as target, the error is 0 wherever a pixel counts.
        samples = Samples(block, work.maps.codes, whole, exporter.encodings, torch.device("cpu"))
        assert samples.extent == (6, 6)
        generator, borders = torch.Generator().manual_seed(0), set()
        for _ in range(6):
            batch = samples.draw(generator)
            with torch.no_grad():
                error = (fake(batch.inputs) - batch.target).abs() * batch.counts
            step = float((exporter.encodings[block.output.name].scale * exporter.encodings[block.output.name].factors).max())
            # Sums in another order may round to the next step now and then.
            assert (error > 0.5 * step).float().mean() < 0.001
            borders |= {float(share) for share in batch.counts.mean((1, 2, 3))}
        assert min(borders) == pytest.approx(16 / 36)
        assert len(borders) > 1


def encoding(remedy: str = "none", zeros: tuple[float, ...] = (3.0, 3.0)) -> Encoding:
    return Encoding(0.5, torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor(zeros, dtype=torch.float64), remedy)


def test_a_step_rounds_and_saturates():
    step = Step(encoding(), common=True, crowd=True)
    values = torch.tensor([[0.24, 0.26], [0.25, -0.5], [1000.0, -1000.0]])
    assert step(values).tolist() == [[0.0, 0.0], [0.5, 0.0], [62.0, -131.0]]


def test_gradients_of_a_step():
    step = Step(encoding(), common=False, crowd=True)
    values = torch.tensor([[0.7, 1000.0]], requires_grad=True)
    step(values).sum().backward()
    # Inside of the range rounding passes the gradient, and the step's logarithm gets its own rounding error.
    assert values.grad.tolist() == [[1.0, 0.0]]
    assert step.gain.grad.tolist() == pytest.approx([0.5 - 0.7, 1.0 * (127 - 3)], abs=1e-5)


def test_zero_points_of_a_shifted_tensor_keep_the_lower_end():
    before = encoding("shifting", (-120.0, 100.0))
    step = Step(before, common=False, crowd=True)
    with torch.no_grad():
        step.gain.copy_(torch.tensor([0.5, 0.25]).log())
    after = step.learned(before)
    assert after.zeros.tolist() == [-112.0, 511.0]
    assert after.factors.tolist() == pytest.approx([0.5, 0.5])
    low = [encoding.scale * encoding.factors[0] * (-128 - encoding.zeros[0]) for encoding in (before, after)]
    assert float(low[0]) == pytest.approx(float(low[1]))


def test_zero_points_where_values_do_not_crowd_keep_the_middle():
    before = replace(encoding("equalization", (-120.0, 100.0)), padded=True)
    step = Step(before, common=False, crowd=False)
    with torch.no_grad():
        step.gain.copy_(torch.tensor([0.5, 0.8]).log())
    after = step.learned(before)
    # Zero points that are codes stay codes.
    assert after.zeros.tolist() == [-128.0, 125.0]
    assert after.factors.tolist() == pytest.approx([0.5, 1.6])


def test_a_common_step_keeps_the_factors():
    step = Step(encoding(), common=True, crowd=True)
    with torch.no_grad():
        step.gain.fill_(float(np.log(2)))
    after = step.learned(encoding())
    assert after.scale == pytest.approx(1.0)
    assert after.factors.tolist() == [1.0, 2.0]
    assert after.zeros.tolist() == [3.0, 3.0]


def weights() -> tuple[Weights, torch.Tensor]:
    wanted = torch.tensor([[0.26, -0.5, 70.0], [1.0, 0.1, -0.9]], dtype=torch.float64)
    scales, bias = torch.tensor([0.5, 0.25], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    rounded = Rounded((wanted / scales[:, None]).round().clamp(-127, 127), scales, bias)
    return Weights(wanted, bias - 1, torch.zeros(2, dtype=torch.float64), rounded, torch.ones(2)), wanted


def test_weights_begin_where_they_are_and_end_on_neighbours():
    made, _ = weights()
    made.mode = "soft"
    # The first integers, a tenth of a step towards the exact weights: 0.52, -1, and 140, which is too much; 4, 0.4, -3.6.
    steps = made.weight().detach() / torch.tensor([[0.5], [0.25]])
    assert steps.numpy() == pytest.approx(torch.tensor([[0.9, -1.0, 127.0], [4.0, 0.1, -3.9]]).numpy(), abs=1e-5)
    assert made.bias().tolist() == [0.0, 1.0]
    made.mode = "hard"
    assert made.integers().tolist() == [[1.0, -1.0, 127.0], [4.0, 0.0, -4.0]]
    with torch.no_grad():
        made.up.mul_(-1)
    assert made.integers()[0, 0] == 0.0
    assert made.rounded_as_learned().weight.dtype == torch.float64


def test_unsettled_is_nothing_for_whole_weights():
    made, _ = weights()
    begun = float(made.unsettled(2.0).detach())
    with torch.no_grad():
        made.up.copy_(torch.where(made.up > 0, 10.0, -10.0))
    assert begun > 0.5
    assert float(made.unsettled(2.0).detach()) == 0.0
