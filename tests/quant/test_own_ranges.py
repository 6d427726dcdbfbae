"""Channels with a range each: which tensors have some, what is representable, and which steps may grow."""

import pytest
import torch
from torch import Tensor

from quant.data import Digits
from quant.networks.layout import Operation
from quant.networks.model import EfficientViT
from quant.ptq.encoding import Encoding
from quant.ptq.graph import FloatLayer, fold
from quant.ptq.observe import Statistics, observe
from quant.ptq.own_ranges import Range, free_ranges, own_ranges

CHANNELS = 12


def seen(rows: Tensor) -> Statistics:
    """Statistics of samples ``[rows, C]``."""
    low, high = rows.amin(0), rows.amax(0)
    return Statistics(low, high, low, high, rows.double().sum(0), len(rows), rows.abs().amax(0), [rows])


def reader(matrix: Tensor, groups: int = 1) -> FloatLayer:
    """A 1x1 convolution with the weights ``[O, C/groups]``."""
    outputs, inputs = matrix.shape
    op = Operation("reader", "pw", ("it",), inputs * groups, outputs, (1, 1), (1, 1), groups=groups)
    return FloatLayer(op, matrix.float()[:, :, None, None], torch.zeros(outputs))


def encode(statistics: Statistics, readers: list[FloatLayer]) -> Encoding:
    """All that was seen of hardswish's outputs, without padding."""
    return own_ranges(whole(statistics), statistics, readers, "shifting")


def whole(statistics: Statistics, *, hardswish: bool = True, padded: bool = False) -> Range:
    op = Operation("it", "pw", ("image",), CHANNELS, CHANNELS, (1, 1), (1, 1), hardswish=hardswish)
    return Range.of(op, statistics, padded=padded)


def uneven(seed: int = 0) -> Statistics:
    """Channels of different sizes that crowd at their low end, as hardswish's outputs do."""
    generator = torch.Generator().manual_seed(seed)
    size, middle = (torch.randn(CHANNELS, generator=generator) for _ in range(2))
    rows = torch.nn.functional.hardswish(torch.randn(200, CHANNELS, generator=generator) * 2)
    return seen((rows + middle) * (1.5 * size).exp())


def weights(outputs: int, inputs: int = CHANNELS, seed: int = 0) -> Tensor:
    """Weights whose columns differ in size."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.randn(inputs, generator=generator).exp()
    return torch.randn(outputs, inputs, generator=generator) * size


def steps_of(encoding: Encoding) -> Tensor:
    return encoding.scale * encoding.factors


def codes(values: Tensor, encoding: Encoding) -> Tensor:
    """Before they are limited to 8 bits."""
    return (values.double() / steps_of(encoding)).round() + encoding.zeros


def least_steps(statistics: Statistics) -> Tensor:
    """The smallest steps with which all values have codes and the zero points 10 bits."""
    low, high = statistics.low.double(), statistics.high.double()
    return torch.maximum((high - low) / 255, torch.maximum(low.abs(), high.abs()) / (511 - 128))


def require_representable(statistics: Statistics, encoding: Encoding) -> None:
    """Require all values to have codes, and whole zero points of 10 bits."""
    found = codes(statistics.samples, encoding)
    assert (float(found.min()) >= -128, float(found.max()) <= 127) == (True, True)
    assert torch.equal(encoding.zeros, encoding.zeros.round())
    assert float(encoding.zeros.abs().max()) <= 511
    assert float(encoding.factors.log().mean()) == pytest.approx(0, abs=1e-12)
    assert encoding.remedy == "shifting"


@pytest.mark.parametrize("seed", range(6))
def test_every_value_has_a_code(seed: int) -> None:
    statistics = uneven(seed)
    encoding = encode(statistics, [reader(weights(5, seed=seed))])
    require_representable(statistics, encoding)
    # A channel that needs all codes keeps its low end, any other one has as many codes left above it as below.
    low, high = codes(statistics.low, encoding), codes(statistics.high, encoding)
    full = (statistics.high - statistics.low) / steps_of(encoding) > 254
    assert {bool(one) for one in full} == {False, True}
    assert low[full].unique().tolist() == [-128]
    assert float((low + high)[~full].abs().max()) <= 2


def test_zero_need_not_have_a_code() -> None:
    statistics = seen(torch.tensor([[0.5, -0.375], [1.75, 0.625]]))
    encoding = encode(statistics, [reader(torch.eye(2))])
    torch.testing.assert_close(steps_of(encoding), torch.tensor([1.25, 1.0], dtype=torch.float64) / 255)
    # 0 would have the code -230.
    assert encoding.zeros.tolist() == [-230, -32]


@pytest.mark.parametrize("far", [-1000.0, 1000.0])
@pytest.mark.parametrize("width", [0.0, 1e-3, 1.0])
def test_channels_far_from_zero(far: float, width: float) -> None:
    rows = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    rows[:, 1] = far + width * rows[:, 1]
    statistics = seen(rows)
    encoding = encode(statistics, [reader(torch.eye(3))])
    require_representable(statistics, encoding)
    found, least = steps_of(encoding), float(rows[:, 1].abs().max()) / 383
    assert float(found[1]) == pytest.approx(least, rel=1e-6)
    # The others suffer no more than hardswish's constants ask for, which have 14 bits.
    torch.testing.assert_close(found[[0, 2]], least_steps(statistics)[[0, 2]].clamp(min=least / 4096), rtol=1e-6, atol=0)


@pytest.mark.parametrize("seed", range(6))
def test_steps_grow_where_no_row_s_largest_weight_does(seed: int) -> None:
    statistics, readers = uneven(seed), [weights(5, seed=seed), weights(2, seed=seed + 50)]
    found = steps_of(encode(statistics, [reader(matrix) for matrix in readers]))
    least = least_steps(statistics)
    assert bool((found >= least * (1 - 1e-12)).all())
    assert bool((found > 1.1 * least).any())
    for matrix in readers:
        before, after = ((matrix.double() * steps).abs().amax(1) for steps in (least, found))
        torch.testing.assert_close(after, before, rtol=1e-6, atol=0)


def test_steps_have_the_least_noise() -> None:
    statistics, matrix = uneven(), weights(5)
    found = steps_of(encode(statistics, [reader(matrix)]))
    least, variance = least_steps(statistics), statistics.samples.double().var(0, correction=0)
    exact = matrix.float().double()
    tops = (exact.abs() * least).amax(1, keepdim=True)
    most = (tops / exact.abs()).amin(0)

    def noise(steps: Tensor) -> Tensor:
        by_weights = variance / steps.square() * (tops / 127).square().sum()
        return steps.square() * exact.square().sum(0) + by_weights

    inner = (found > least * 1.001) & (found < most * 0.999)
    assert 0 < int(inner.sum()) < CHANNELS
    for part in torch.linspace(0, 1, 101, dtype=torch.float64):
        other = least * (most / least).pow(part)
        assert bool((noise(found) <= noise(other) * (1 + 1e-9)).all())


def test_a_channel_that_nothing_reads_keeps_its_range() -> None:
    statistics, matrix = uneven(), weights(5)
    matrix[:, 4] = 0
    matrix[2] = 0
    encoding = encode(statistics, [reader(matrix)])
    require_representable(statistics, encoding)
    assert float(steps_of(encoding)[4]) == pytest.approx(float(least_steps(statistics)[4]), rel=1e-12)
    assert torch.equal(steps_of(encode(statistics, [reader(matrix[[0, 1, 3, 4]])])), steps_of(encoding))


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_a_channel_that_never_varies(value: float) -> None:
    rows = uneven().samples.clone()
    rows[:, 3] = value
    statistics = seen(rows)
    encoding = encode(statistics, [reader(weights(5))])
    require_representable(statistics, encoding)
    rest = [channel for channel in range(CHANNELS) if channel != 3]
    without = encode(seen(rows[:, rest]), [reader(weights(5)[:, rest])])
    torch.testing.assert_close(steps_of(encoding)[rest], steps_of(without), rtol=1e-12, atol=0)
    back = (codes(statistics.low, encoding) - encoding.zeros) * steps_of(encoding)
    assert float(back[3]) == pytest.approx(value, abs=float(steps_of(encoding)[3]) / 2)


def test_a_tensor_of_zeros() -> None:
    statistics = seen(torch.zeros(20, CHANNELS))
    encoding = encode(statistics, [reader(weights(5))])
    require_representable(statistics, encoding)
    torch.testing.assert_close(encoding.factors, torch.ones(CHANNELS, dtype=torch.float64), rtol=1e-12, atol=0)
    # A range of about 1, as everywhere else where nothing is known.
    assert encoding.scale == pytest.approx(1 / 255)


def test_hardswish_s_constants_keep_their_bits() -> None:
    matrix = weights(5)
    matrix[:, [2, 7]] *= 1e-12
    found = steps_of(encode(uneven(), [reader(matrix)]))
    assert float(found.max() / found.min()) <= (1 << 12) * (1 + 1e-9)
    # Nearly dead channels, too, whatever the others' steps are in the end.
    rows = uneven().samples.clone()
    rows[:, 3] *= 1e-9
    found = steps_of(encode(seen(rows), [reader(matrix)]))
    assert float(found.max() / found.min()) <= (1 << 12) * (1 + 1e-9)


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_are_a_matrix_with_zeros(groups: int) -> None:
    matrix = weights(6, CHANNELS // groups)
    dense = torch.block_diag(*matrix.split(6 // groups))
    assert dense.shape == (6, CHANNELS)
    one, other = (encode(uneven(), [layer]) for layer in (reader(matrix, groups), reader(dense)))
    assert one.scale == other.scale
    assert torch.equal(one.factors, other.factors)
    assert torch.equal(one.zeros, other.zeros)


def test_depthwise_readers_let_steps_be_small() -> None:
    matrix = torch.randn(CHANNELS, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    op = Operation("reader", "dw", ("it",), CHANNELS, CHANNELS, (4, 4), (4, 4), kernel=3, groups=CHANNELS)
    reads = FloatLayer(op, matrix, torch.zeros(CHANNELS))
    statistics = uneven()
    found = whole(statistics, padded=True)
    encoding = own_ranges(found, statistics, [reads], "equalization")
    torch.testing.assert_close(steps_of(encoding), (found.high - found.low) / 255, rtol=1e-12, atol=0)
    assert encoding.remedy == "equalization"


@pytest.mark.parametrize("hardswish", [False, True])
@pytest.mark.parametrize("share", [0.4, 0.8, 1.0])
def test_what_is_padded_has_a_code_for_zero(hardswish: bool, share: float) -> None:
    rows = uneven().samples.clone()
    rows[:, 0] = rows[:, 0].abs() + 2
    rows[:, 1] = -rows[:, 1].abs() - 2
    found = whole(seen(rows), hardswish=hardswish, padded=True).part(share)
    assert (bool((found.low <= 0).all()), bool((found.high >= 0).all())) == (True, True)
    zeros = found.zeros(found.steps())
    assert (float(zeros.min()) >= -128, float(zeros.max()) <= 127) == (True, True)


def test_parts_of_a_range() -> None:
    statistics = seen(torch.tensor([[-1.0, 2.0], [3.0, 4.0], [1.0, 9.0]]))
    shares = torch.tensor([0.5, 1.0], dtype=torch.float64)
    crowded, centred = (whole(statistics, hardswish=hardswish).part(shares) for hardswish in (True, False))
    # Hardswish's outputs crowd at the lower end, others around their mean, 1 and 5.
    assert (crowded.low.tolist(), crowded.high.tolist()) == ([-1.0, 2.0], [1.0, 9.0])
    assert (centred.low.tolist(), centred.high.tolist()) == ([0.0, 2.0], [2.0, 9.0])


def test_which_tensors_have_ranges(network: EfficientViT, pictures: Digits) -> None:
    layers = fold(network)
    ops = [layer.op for layer in layers]
    found = free_ranges(ops, observe(network, layers, torch.from_numpy(pictures.train[:4]), 4))
    attention = {f"{stage}.1.MLA.{part}" for stage in ("S2", "S3") for part in ("qkv", "agg.gpw", "att")}
    # Nor what LayerNorm reads, and the logits.
    assert {op.name for op in ops} - found.keys() == attention | {"head.fc1", "head.fc2"}
    assert {name for name, one in found.items() if one.padded} == {op.inputs[0] for op in ops if op.kind == "dw"} - attention
