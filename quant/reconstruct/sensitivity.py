"""How much an error of each channel of a tensor changes the network's output."""

import torch
from torch import Tensor

from quant.networks.model import EfficientViT
from quant.ptq.graph import FloatLayer, compute

#: Pictures that are looked at, and how many at once.
PICTURES, BATCH = 16, 2
#: No channel counts less than this share of the mean.
_LEAST = 1e-3


def sensitivities(
    network: EfficientViT, layers: list[FloatLayer], names: list[str], pictures: Tensor, seed: int
) -> dict[str, Tensor]:
    """Return a weight for the squared error of each channel of the tensors ``names`` (float32 ``[C]``, mean 1).

    It is the channel's share of the Jacobian's squared norm, estimated with random directions of the output: what independent
    errors of that channel's pixels add to the mean squared error of the logits. ``pictures`` are uint8 ``[N, 3, H, W]``.
    """
    generator = torch.Generator().manual_seed(seed)
    totals = dict.fromkeys(names, torch.zeros(()))
    for batch in pictures[:PICTURES].split(BATCH):
        tensors = {"image": network.normalise(batch).requires_grad_()}
        for layer in layers:
            tensors[layer.op.name], _ = compute(network, layer, tensors)
        output = tensors[layers[-1].op.name]
        direction = torch.randn(output.shape, generator=generator)
        for name, slope in zip(names, torch.autograd.grad(output, [tensors[name] for name in names], direction), strict=True):
            totals[name] = totals[name] + slope.square().reshape(*slope.shape[:2], -1).sum((0, 2))
    return {name: _balanced(total) for name, total in totals.items()}


def _balanced(total: Tensor) -> Tensor:
    mean = total.mean()
    return (total / mean).clamp(min=_LEAST) if float(mean) > 0 else torch.ones_like(total)
