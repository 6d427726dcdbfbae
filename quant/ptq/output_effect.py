"""Channels' ranges by what their rounding does to the network's output, and not to the channel itself.

An error ``e`` of a tensor changes the output by its Jacobian's ``J e``, as long as it is small. The mean square of that is
estimated with random directions ``r`` of the output: ``(r J) e``, where ``r J`` is one backward pass for all tensors at once. So
what every channel's step does to the output is known without running the network again, saturation and errors that neighbouring
pixels share included: a channel whose largest values matter little can do with half of its range, and round half as much.
"""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from quant.data import Progress
from quant.networks.model import EfficientViT
from quant.ptq.codings import Coding
from quant.ptq.encoding import Encoding
from quant.ptq.graph import FloatLayer, compute

#: Parts of a channel's range that are tried.
PARTS = (0.4, 0.5, 0.65, 0.8, 1.0, 1.25)
#: A part counts as better than the whole only where the error falls below this share: estimates are not exact.
_BETTER = 0.85
#: Random directions of each picture's output, and pictures at once.
_DIRECTIONS, _BATCH = 4, 2
#: Products of all pictures together, about, and the fewest pictures.
_MACS, _FEWEST = 25e9, 16


def refined(
    network: EfficientViT,
    layers: list[FloatLayer],
    pictures: Tensor,
    encodings: dict[str, Encoding],
    names: Collection[str],
    progress: Progress | None = None,
) -> dict[str, Encoding]:
    """Return the encodings of the tensors ``names``, each channel with the part of its range that serves the output best.

    ``pictures`` are uint8 ``[N, 3, H, W]``, of which some are used, evenly taken.
    """
    ordered = [layer.op.name for layer in layers if layer.op.name in names]
    if not ordered:
        return {}
    pictures = pictures[:: max(1, len(pictures) // _affordable(layers))]
    tried = {name: [_coding(scaled(encodings[name], part)) for part in PARTS] for name in ordered}
    errors = {name: torch.zeros(len(PARTS), len(encodings[name].factors), dtype=torch.float64) for name in ordered}
    generator = torch.Generator().manual_seed(0)
    done = 0
    for batch in pictures.split(_BATCH):
        tensors = {"image": network.normalise(batch).requires_grad_()}
        for layer in layers:
            tensors[layer.op.name], _ = compute(network, layer, tensors)
        output = tensors[layers[-1].op.name]
        slopes: list[tuple[Tensor, ...]] = []
        for last in reversed(range(_DIRECTIONS)):
            direction = torch.randn(output.shape, generator=generator)
            slopes.append(torch.autograd.grad(output, [tensors[name] for name in ordered], direction, retain_graph=last > 0))
        for place, name in enumerate(ordered):
            together = torch.stack([one[place] for one in slopes]).flatten(3)
            values = tensors[name].detach()
            for part, coding in enumerate(tried[name]):
                error = (coding.rounded(values) - values).flatten(2)
                errors[name][part] += (together * error).sum(3).double().square().sum((0, 1))
        done += len(batch)
        if progress:
            progress("weighing ranges", done, len(pictures))
    return {name: _best(encodings[name], errors[name]) for name in ordered}


def scaled(encoding: Encoding, parts: Tensor | float) -> Encoding:
    """``encoding`` with the steps times ``parts`` (one, or one a channel), the zero points as they were."""
    return replace(encoding, factors=encoding.factors * parts)


def _coding(encoding: Encoding) -> Coding:
    return Coding(encoding.scale * encoding.factors, encoding.zeros)


def _best(encoding: Encoding, errors: Tensor) -> Encoding:
    whole = errors[PARTS.index(1.0)]
    least, place = errors.min(0)
    return scaled(encoding, torch.where(least < _BETTER * whole, torch.tensor(PARTS, dtype=torch.float64)[place], 1.0))


def _affordable(layers: list[FloatLayer]) -> int:
    return max(_FEWEST, int(_MACS / max(sum(layer.op.macs for layer in layers), 1)))
