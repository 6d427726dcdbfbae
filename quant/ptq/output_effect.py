"""Channels' ranges by what their rounding does to the network's output, and not to the channel itself.

An error ``e`` of a tensor changes the output by its Jacobian's ``J e``, as long as it is small. The mean square of that is
estimated with random directions ``r`` of the output: ``(r J) e``, where ``r J`` is one backward pass for all tensors at once. So
what every channel's range does to the output is known without running the network again, saturation and errors that neighbouring
pixels share included: a channel whose largest values matter little can do with half of its range, and round half as much.

What a picture loses is taken with the range that the other pictures give. So where the next picture's values would often lie
outside, as they do of tensors with few pixels, a range grows beyond what was seen.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from quant.data import Progress
from quant.networks.model import EfficientViT
from quant.ptq.codings import Coding
from quant.ptq.graph import FloatLayer, compute
from quant.ptq.observe import Statistics
from quant.ptq.own_ranges import Range

#: Parts and multiples of a channel's range that are tried.
PARTS = (0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0)
#: A part or multiple counts as better than the whole only where the error falls below this share: estimates are not exact.
_BETTER = 0.85
#: Random directions of each picture's output.
_DIRECTIONS = 2
#: About so many products of all pictures together, but not fewer pictures than these, nor twice as many as those.
_MACS, _FEWEST, _MOST = 50e9, 32, 64


def weighed(
    network: EfficientViT,
    layers: list[FloatLayer],
    pictures: Tensor,
    ranges: Mapping[str, Range],
    statistics: Mapping[str, Statistics],
    progress: Progress | None = None,
) -> dict[str, Range]:
    """Return the tensors' ranges, of each channel the part or multiple that serves the output best.

    ``pictures`` are uint8 ``[N, 3, H, W]``, of which some are used, evenly taken; ``ranges`` and ``statistics`` are those of all.
    """
    names = [layer.op.name for layer in layers if layer.op.name in ranges]
    if not names:
        return {}
    others = {name: statistics[name].others() for name in names}
    every = max(1, len(pictures) // _affordable(layers))
    pictures = pictures[::every]
    errors = {name: torch.zeros(len(PARTS), len(ranges[name].low), dtype=torch.float64) for name in names}
    generator = torch.Generator().manual_seed(0)
    for done, picture in enumerate(pictures.split(1), start=1):
        tensors = {"image": network.normalise(picture).requires_grad_()}
        for layer in layers:
            tensors[layer.op.name], _ = compute(network, layer, tensors)
        output = tensors[layers[-1].op.name]
        directions = [torch.randn(output.shape, generator=generator) for _ in range(_DIRECTIONS)]
        slopes = [torch.autograd.grad(output, [tensors[name] for name in names], one, retain_graph=True) for one in directions]
        for place, name in enumerate(names):
            values = tensors[name].detach()
            low, high = (ends[(done - 1) * every] for ends in others[name])
            unseen = replace(ranges[name], low=low.double(), high=high.double())
            tried = [_coding(unseen.part(share)) for share in PARTS]
            off = torch.stack([(coding.rounded(values) - values).reshape(values.shape[1], -1) for coding in tried], 1)
            toward = torch.stack([one[place].reshape(values.shape[1], -1) for one in slopes], 2)
            errors[name] += (off @ toward).double().square().sum(2).T
        if progress:
            progress("weighing ranges", done, len(pictures))
    return {name: _best(ranges[name], errors[name]) for name in names}


def _coding(found: Range) -> Coding:
    steps = found.steps()
    return Coding(steps, found.zeros(steps))


def _best(found: Range, errors: Tensor) -> Range:
    first = PARTS.index(1.0)
    # How far pictures reach that were not seen takes many channels to tell; what each can do without, it tells itself.
    sums = errors[first:].sum(1)
    whole = first + int(sums.argmin()) if float(sums.min()) < _BETTER * float(sums[0]) else first
    least, place = errors.min(0)
    return found.part(torch.where(least < _BETTER * errors[whole], torch.tensor(PARTS, dtype=torch.float64)[place], PARTS[whole]))


def _affordable(layers: list[FloatLayer]) -> int:
    return min(_MOST, max(_FEWEST, int(_MACS / max(sum(layer.op.macs for layer in layers), 1))))
