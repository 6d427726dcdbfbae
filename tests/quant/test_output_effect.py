"""Ranges by their effect on the output: a network made by hand, and the small one."""

import pytest
import torch
from torch import Tensor

from quant.data import Digits
from quant.networks.layout import Operation
from quant.networks.model import EfficientViT
from quant.ptq import output_effect
from quant.ptq.encoding import Encoding
from quant.ptq.graph import FloatLayer, compute, fold
from quant.ptq.observe import observe
from quant.ptq.options import Options
from quant.ptq.output_effect import PARTS, refined, scaled
from quant.quantize import _convolved, _encode

SIZE = (16, 16)


@pytest.fixture(scope="module")
def layers(network: EfficientViT) -> list[FloatLayer]:
    return fold(network)


@pytest.fixture(scope="module")
def encodings(network: EfficientViT, layers: list[FloatLayer], pictures: Digits) -> dict[str, Encoding]:
    seen = observe(network, layers, torch.from_numpy(pictures.train[:16]), 4)
    return _encode(network.spec, layers, seen, Options(activations="minmax", attention_pictures=4))


def encoding(factors: list[float], zeros: list[float], remedy: str) -> Encoding:
    return Encoding(0.01, torch.tensor(factors, dtype=torch.float64), torch.tensor(zeros, dtype=torch.float64), remedy)


def equal(one: Encoding, other: Encoding) -> bool:
    same = one.scale == other.scale and one.remedy == other.remedy
    return same and torch.equal(one.factors, other.factors) and torch.equal(one.zeros, other.zeros)


def rare(count: int) -> Tensor:
    """Grey pictures, of which every 100th pixel is black."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(100, 156, (count, 1, *SIZE), generator=generator)
    return torch.where(torch.rand(values.shape, generator=generator) < 0.01, 0, values).expand(-1, 3, -1, -1).to(torch.uint8)


def by_hand(network: EfficientViT, black: float = -12.0) -> list[FloatLayer]:
    """Layer ``a``: grey is -3 to 3, black far below it (channel 0), far above (1); layer ``b`` is hardswish of each channel.

    Channel 2 is 0 at black.
    """
    levels = network.normalise(torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256))[0, 0, 0]
    slope = -black / (levels[128] - levels[0])
    weight = torch.zeros(3, 3, 1, 1)
    weight[:, 0, 0, 0] = torch.tensor([slope, -slope, slope])
    bias = -weight[:, 0, 0, 0] * torch.stack([levels[128], levels[128], levels[0]])
    first = Operation("a", "pw", ("image",), 3, 3, SIZE, SIZE)
    second = Operation("b", "dw", ("a",), 3, 3, SIZE, SIZE, groups=3, hardswish=True)
    return [FloatLayer(first, weight, bias), FloatLayer(second, torch.ones(3, 1, 1, 1), torch.zeros(3))]


def test_what_does_not_reach_the_output_needs_no_codes(network: EfficientViT) -> None:
    # 12.5 is the top of the codes in channels 0 and 1.
    given = {"a": encoding([12.5 / 1.27, 12.5 / 1.27, 15 / 1.27], [0.0, 0.0, 0.0], "equalization")}
    before = given["a"].factors.clone()
    found = refined(network, by_hand(network), rare(16), given, {"a"})
    assert (found["a"].factors / before).tolist() == [0.4, 1.0, 1.0]
    assert torch.equal(found["a"].zeros, given["a"].zeros)
    assert torch.equal(given["a"].factors, before)


def test_a_range_that_is_too_small_grows(network: EfficientViT) -> None:
    given = {"a": encoding([12.5 / 1.27, 10.0 / 1.27, 12.5 / 1.27], [0.0, 0.0, 0.0], "equalization")}
    found = refined(network, by_hand(network), rare(16), given, {"a"})
    assert (found["a"].factors / given["a"].factors).tolist() == [0.4, 1.25, 1.25]


def test_a_part_must_be_clearly_better() -> None:
    # One row a part, one column a channel: a little better, much better in two ways, all the same, nothing to lose.
    errors = torch.ones(len(PARTS), 4, dtype=torch.float64)
    errors[0, 0] = 0.9
    errors[[1, 3], 1] = torch.tensor([0.7, 0.6], dtype=torch.float64)
    errors[:, 3] = 0
    given = encoding([1.0, 2.0, 3.0, 4.0], [5.0] * 4, "migration")
    assert output_effect._best(given, errors).factors.tolist() == [1.0, 2.0 * PARTS[3], 3.0, 4.0]


def test_only_what_was_asked_for(
    network: EfficientViT, layers: list[FloatLayer], encodings: dict[str, Encoding], pictures: Digits
) -> None:
    names = _convolved(layers, encodings)
    batch = torch.from_numpy(pictures.train[:4])
    one, other = (refined(network, layers, batch, encodings, names) for _ in range(2))
    assert one.keys() == other.keys() == names
    assert names
    assert all(equal(one[name], other[name]) for name in names)
    for name in names:
        assert torch.equal(one[name].zeros, encodings[name].zeros)
        parts = (one[name].factors / encodings[name].factors)[:, None] - torch.tensor(PARTS, dtype=torch.float64)
        assert float(parts.abs().amin(1).max()) < 1e-12
    few = set(sorted(names)[:2])
    assert refined(network, layers, batch, encodings, few).keys() == few


def test_nothing_asked_for(network: EfficientViT) -> None:
    assert refined(network, by_hand(network), rare(2), {}, set()) == {}


def test_the_output_s_error_falls(
    network: EfficientViT, layers: list[FloatLayer], encodings: dict[str, Encoding], pictures: Digits
) -> None:
    names = _convolved(layers, encodings)
    found = refined(network, layers, torch.from_numpy(pictures.train[:32]), encodings, names)
    assert any(not equal(found[name], encodings[name]) for name in names)

    def output(chosen: dict[str, Encoding]) -> Tensor:
        """The output on pictures that the ranges were not chosen with, where only the named tensors are rounded."""
        tensors = {"image": network.normalise(torch.from_numpy(pictures.held_out[:64]))}
        with torch.no_grad():
            for layer in layers:
                name = layer.op.name
                tensors[name], _ = compute(network, layer, tensors)
                if name in chosen:
                    steps = (chosen[name].scale * chosen[name].factors).float()[:, None, None]
                    zeros = chosen[name].zeros.float()[:, None, None]
                    tensors[name] = ((tensors[name] / steps).round() + zeros).clamp(-128, 127).sub(zeros) * steps
        return tensors[layers[-1].op.name]

    exact = output({})
    before, after = ((output(chosen) - exact).square().mean() for chosen in ({name: encodings[name] for name in names}, found))
    assert float(after) < 0.9 * float(before)


def test_progress_and_pictures(network: EfficientViT, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"a": encoding([12.5 / 1.27] * 3, [0.0] * 3, "equalization")}
    calls: list[tuple[str, int, int]] = []
    refined(network, by_hand(network), rare(5), given, {"a"}, lambda *call: calls.append(call))
    assert calls == [("weighing ranges", done, 5) for done in (2, 4, 5)]
    # Where products are dear some pictures do, evenly taken.
    calls.clear()
    monkeypatch.setattr(output_effect, "_MACS", 0)
    few = refined(network, by_hand(network), rare(48), given, {"a"}, lambda *call: calls.append(call))
    assert calls[-1] == ("weighing ranges", 16, 16)
    assert equal(few["a"], refined(network, by_hand(network), rare(48)[::3], given, {"a"})["a"])


@pytest.mark.parametrize("remedy", ["migration", "equalization", "none"])
def test_zero_points_stay(remedy: str) -> None:
    before = encoding([1.0, 0.5], [-20.0, -20.0], remedy)
    after = scaled(before, torch.tensor([0.5, 1.25], dtype=torch.float64))
    assert after.factors.tolist() == [0.5, 0.625]
    assert after.zeros.tolist() == [-20, -20]
    assert (after.scale, after.remedy) == (before.scale, remedy)
