"""Factors of channels: what attention allows, and where the others have ranges of their own."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from quant.data import Digits
from quant.networks.layout import Operation
from quant.networks.model import EfficientViT
from quant.ptq.encoding import shifted
from quant.ptq.equalize import attention_factors, attention_outputs, attention_steps
from quant.ptq.graph import fold
from quant.ptq.observe import Observations, Statistics, observe
from quant.ptq.options import Options
from quant.ptq.own_ranges import free_ranges, own_ranges
from quant.ptq.remedies import shifted_tensors, shifts
from quant.quantize import _encode, quantize

FAST = Options(activations="minmax", weights="minmax", attention_pictures=4)
DIM, HEADS = 4, 3


def seen(rows: Tensor) -> Statistics:
    """Statistics of samples ``[rows, C]``."""
    low, high = rows.amin(0), rows.amax(0)
    return Statistics(low, high, low, high, rows.double().sum(0), len(rows), rows.abs().amax(0), [rows])


def uneven(*shape: int) -> Tensor:
    """Normal values whose second axis, the channels, differs widely in size."""
    generator = torch.Generator().manual_seed(0)
    size = torch.randn(shape[1], generator=generator).mul(2).exp()
    return torch.randn(shape, generator=generator) * size.reshape(1, -1, *[1] * (len(shape) - 2))


def qkv_steps(qkv: Tensor, z_bits: int = 8) -> Tensor:
    """The steps ``[heads, 3, d]`` that a single input of attention is given."""
    channels = qkv.shape[1]
    size = (qkv.shape[2], qkv.shape[3])
    op = Operation("att", "attention", ("qkv",), channels, channels // 3, size, size, heads=channels // (3 * DIM), dim=DIM)
    return attention_steps([op], Observations(attention={"qkv": qkv}), z_bits)["qkv"].reshape(-1, 3, DIM)


def is_one_number(values: Tensor) -> None:
    """Require each row ``[heads, d]`` to be one number."""
    torch.testing.assert_close(values, values[:, :1].expand_as(values), rtol=1e-12, atol=0)


@pytest.mark.parametrize("z_bits", [8, 15])
def test_products_of_queries_and_keys_share_one_step_a_head(z_bits: int) -> None:
    steps = qkv_steps(uneven(2, 3 * DIM * HEADS, 5, 6), z_bits)
    is_one_number(steps[:, 0] * steps[:, 1])
    # While the steps themselves differ.
    assert float((steps[:, 0].amax(1) / steps[:, 0].amin(1)).min()) > 1.5


def test_values_fill_their_codes() -> None:
    qkv = uneven(2, 3 * DIM * HEADS, 5, 6)
    tops = qkv.double().reshape(2, HEADS, 3, DIM, -1)[:, :, 2].abs().amax((0, 3))
    torch.testing.assert_close(qkv_steps(qkv)[:, 2], tops / 127, rtol=1e-12, atol=0)


def test_attention_s_output_has_the_factors_of_the_values() -> None:
    values, output = uneven(1, DIM * HEADS).abs()[0].double(), seen(uneven(40, DIM * HEADS))
    ratio = (attention_factors(values, output, DIM) / values).reshape(HEADS, DIM)
    is_one_number(ratio)
    # That number brings each head's widest channel to one common range.
    tops = torch.maximum(output.high, -output.low).double() / attention_factors(values, output, DIM)
    is_one_number(tops.reshape(HEADS, DIM).amax(1)[None])


@pytest.mark.parametrize("part", range(3))
def test_dead_channels_of_attention(part: int) -> None:
    qkv = uneven(2, 3 * DIM * HEADS, 5, 6)
    heads = qkv.reshape(2, HEADS, 3, DIM, -1)
    heads[:, 0, part, 1], heads[:, 1, part] = 0, 0
    steps = qkv_steps(qkv)
    assert bool((steps.isfinite() & (steps > 0)).all())
    is_one_number(steps[:, 0] * steps[:, 1])


def test_attention_of_nothing() -> None:
    steps = qkv_steps(torch.zeros(1, 3 * DIM, 2, 2))
    assert bool((steps == steps[0, 0, 0]).all())
    assert attention_factors(torch.ones(DIM, dtype=torch.float64), seen(torch.zeros(5, DIM)), DIM).tolist() == [1.0] * DIM


def test_attentions_tensors_in_a_network(network: EfficientViT, pictures: Digits) -> None:
    layers = fold(network)
    ops = [layer.op for layer in layers]
    found = observe(network, layers, torch.from_numpy(pictures.train[:4]), 4)
    steps = attention_steps(ops, found, FAST.z_bits)
    factors = attention_outputs(ops, found, steps)
    assert factors.keys() == {"S2.1.MLA.att", "S3.1.MLA.att"}
    assert steps.keys() == {f"{stage}.1.MLA.{part}" for stage in ("S2", "S3") for part in ("qkv", "agg.gpw")}
    for op in ops:
        if op.kind == "attention":
            q, k, _ = torch.cat([steps[name].reshape(-1, 3, op.dim) for name in op.inputs]).unbind(1)
            is_one_number(q * k)
            values = torch.cat([steps[name].reshape(-1, 3, op.dim)[:, 2] for name in op.inputs])
            is_one_number(factors[op.name].reshape(-1, op.dim) / values)


@pytest.mark.parametrize("wanted", [False, True])
def test_channels_have_a_range_each(network: EfficientViT, pictures: Digits, wanted: bool) -> None:
    layers = fold(network)
    ops = [layer.op for layer in layers]
    found = observe(network, layers, torch.from_numpy(pictures.train[:4]), 4)
    ranges = free_ranges(ops, found) if wanted else {}
    encodings = _encode(network.spec, layers, found, ranges, replace(FAST, equalization=wanted))
    moved = shifted_tensors(ops)
    for name in ranges.keys() | moved:
        if wanted:
            readers = [layer for layer in layers if name in layer.op.inputs]
            remedy = "shifting" if name in moved else "equalization"
            own = own_ranges(ranges[name], found.statistics[name], readers, remedy)
        else:
            own = shifted(found.statistics[name], shifts(found.statistics[name]), FAST)
        assert (encodings[name].scale, encodings[name].remedy) == (own.scale, own.remedy)
        assert torch.equal(encodings[name].factors, own.factors)
        assert torch.equal(encodings[name].zeros, own.zeros)
        assert (len(own.factors.unique()) > 1) is wanted


@pytest.mark.parametrize("wanted", [False, True])
def test_without_the_option_channels_are_alike(network: EfficientViT, pictures: Digits, wanted: bool) -> None:
    options = Options(activations="minmax", weights="minmax", attention_pictures=4, equalization=wanted, migration=False)
    made = quantize(network, pictures.train[:4], options)
    uneven_tensors = [name for name, values in made.calibration["factors"].items() if len(set(values)) > 1]
    assert bool(uneven_tensors) is wanted
    if not wanted:
        # What is left is one number a tensor, which makes the residual's multiplier whole.
        residuals = {layer.name for layer in made.layers if layer.post and layer.post.residual}
        assert made.calibration["factors"].keys() <= residuals
