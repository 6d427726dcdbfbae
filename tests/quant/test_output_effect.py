"""Ranges by their effect on the output: a network made by hand, and the small one."""

import pytest
import torch
from torch import Tensor

from quant.data import Digits
from quant.networks.layout import Operation
from quant.networks.model import EfficientViT
from quant.ptq import output_effect
from quant.ptq.codings import Coding
from quant.ptq.graph import FloatLayer, compute, fold
from quant.ptq.observe import Observations, Statistics, observe
from quant.ptq.output_effect import PARTS, weighed
from quant.ptq.own_ranges import Range, free_ranges

SIZE = (16, 16)


@pytest.fixture(scope="module")
def layers(network: EfficientViT) -> list[FloatLayer]:
    return fold(network)


@pytest.fixture(scope="module")
def seen(network: EfficientViT, layers: list[FloatLayer], pictures: Digits) -> Observations:
    return observe(network, layers, torch.from_numpy(pictures.train[:16]), 4)


@pytest.fixture(scope="module")
def ranges(layers: list[FloatLayer], seen: Observations) -> dict[str, Range]:
    return free_ranges([layer.op for layer in layers], seen)


def equal(one: Range, other: Range) -> bool:
    return all(torch.equal(getattr(one, end), getattr(other, end)) for end in ("low", "high", "kept"))


def even(*tops: float) -> Range:
    """From -top to top, a channel each."""
    high = torch.tensor(tops, dtype=torch.float64)
    return Range(-high, high, torch.zeros_like(high))


def known(*tops: float, count: int = 96) -> dict[str, Statistics]:
    """Layer ``a`` from -top to top in each of so many pictures."""
    high = torch.tensor(tops)
    every = high.expand(count, -1)
    return {"a": Statistics(-high, high, -high, high, 0 * high, count, high, [every], [-every], [every])}


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
    given = {"a": even(12.5, 12.5, 15.2)}
    found = weighed(network, by_hand(network), rare(16), given, known(12.5, 12.5, 15.2))
    assert (found["a"].high / given["a"].high).tolist() == [0.4, 1.0, 1.0]
    assert torch.equal(found["a"].low, -found["a"].high)
    assert given["a"].high.tolist() == [12.5, 12.5, 15.2]


def test_a_part_must_be_clearly_better() -> None:
    # One row a part, one column a channel: a little better, much better in two ways, all the same, nothing to lose.
    errors = torch.ones(len(PARTS), 4, dtype=torch.float64)
    errors[0, 0] = 0.9
    errors[[1, 3], 1] = torch.tensor([0.7, 0.6], dtype=torch.float64)
    errors[:, 3] = 0
    assert output_effect._best(even(1.0, 2.0, 3.0, 4.0), errors).high.tolist() == [1.0, 2.0 * PARTS[3], 3.0, 4.0]


def test_only_what_was_asked_for(
    network: EfficientViT, layers: list[FloatLayer], ranges: dict[str, Range], seen: Observations, pictures: Digits
) -> None:
    batch = torch.from_numpy(pictures.train[:4])
    one, other = (weighed(network, layers, batch, ranges, seen.statistics) for _ in range(2))
    assert one.keys() == other.keys() == ranges.keys()
    assert all(equal(one[name], other[name]) for name in ranges)
    for name, found in one.items():
        tried = [ranges[name].part(share) for share in PARTS]
        apart = torch.stack([(found.low - part.low).abs() + (found.high - part.high).abs() for part in tried])
        assert float(apart.amin(0).max()) < 1e-12
    few = {name: ranges[name] for name in sorted(ranges)[:2]}
    assert weighed(network, layers, batch, few, seen.statistics).keys() == few.keys()


def test_nothing_asked_for(network: EfficientViT) -> None:
    assert weighed(network, by_hand(network), rare(2), {}, {}) == {}


def test_the_output_s_error_falls(network: EfficientViT) -> None:
    layers, given = by_hand(network), {"a": even(12.5, 12.5, 15.2)}
    found = weighed(network, layers, rare(16), given, known(12.5, 12.5, 15.2))

    def output(chosen: dict[str, Range]) -> Tensor:
        """The output on pictures that the ranges were not chosen with, where only the named tensors are rounded."""
        tensors = {"image": network.normalise(rare(32)[16:])}
        with torch.no_grad():
            for layer in layers:
                name = layer.op.name
                tensors[name], _ = compute(network, layer, tensors)
                if name in chosen:
                    steps = chosen[name].steps()
                    tensors[name] = Coding(steps, chosen[name].zeros(steps)).rounded(tensors[name])
        return tensors[layers[-1].op.name]

    before, after = ((output(chosen) - output({})).square().mean((0, 2, 3)) for chosen in (given, found))
    # Of channel 0, whose range was cut, by the steps' square.
    assert float(after[0]) < 0.25 * float(before[0])
    assert torch.equal(after[1:], before[1:])


def test_a_range_grows_where_the_next_picture_would_not_fit(network: EfficientViT) -> None:
    # Each picture has a contrast of its own, so that the others do not tell how far it reaches; or all have the same.
    contrasts = torch.linspace(0, 1, 12).square().reshape(-1, 1, 1, 1) * 100
    for different in (True, False):
        flat = torch.linspace(-1, 1, SIZE[0] * SIZE[1]).reshape(1, 1, *SIZE) * (contrasts if different else 100)
        batch = (128 + flat).round().expand(12, 3, -1, -1).to(torch.uint8)
        layers = by_hand(network)
        statistics = observe(network, layers, batch, 1, with_moments=False).statistics
        given = {"a": Range.of(layers[0].op, statistics["a"], padded=False)}
        found = weighed(network, layers, batch, given, statistics)["a"]
        share = (found.high - found.low) / (given["a"].high - given["a"].low)
        assert (share > 1).tolist() == [different] * 3


def test_progress_and_pictures(network: EfficientViT, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"a": even(12.5, 12.5, 12.5)}
    calls: list[tuple[str, int, int]] = []
    statistics = known(12.5, 12.5, 12.5)
    weighed(network, by_hand(network), rare(3), given, statistics, lambda *call: calls.append(call))
    assert calls == [("weighing ranges", done, 3) for done in (1, 2, 3)]
    # Where products are dear some pictures do, evenly taken.
    calls.clear()
    monkeypatch.setattr(output_effect, "_MACS", 0)
    few = weighed(network, by_hand(network), rare(96), given, statistics, lambda *call: calls.append(call))
    assert calls[-1] == ("weighing ranges", 32, 32)
    assert equal(few["a"], weighed(network, by_hand(network), rare(96)[::3], given, statistics)["a"])
