"""Second moments of what layers multiply: how the inputs of a sum of products vary together, over the calibration pictures."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from quant.networks.layout import Operation

#: Output pixels of a batch of pictures that are looked at, each with its neighbourhood.
PIXELS = 1024
#: Kinds of layers that have weights.
WEIGHTED = ("conv", "pw", "dw", "fc")


@dataclass
class Moments:
    """Of the inputs of a layer's products, float64; ``G`` is its groups, ``K`` the inputs of a product."""

    #: Means, ``[G, K]``.
    mean: Tensor
    #: Sums of the products of what differs from the means, ``[G, K, K]``.
    scatter: Tensor
    count: int

    def __add__(self, other: "Moments") -> "Moments":
        """Those of both together."""
        count, apart = self.count + other.count, other.mean - self.mean
        share = other.count / count
        between = apart[:, :, None] * apart[:, None] * (self.count * share)
        return Moments(self.mean + apart * share, self.scatter + other.scatter + between, count)

    @property
    def covariance(self) -> Tensor:
        """``[G, K, K]``."""
        return self.scatter / self.count

    @property
    def product(self) -> Tensor:
        """Mean products, ``[G, K, K]``."""
        return self.covariance + self.mean[:, :, None] * self.mean[:, None]


def moments(op: Operation, x: Tensor, generator: torch.Generator) -> Moments:
    """The moments of one of `WEIGHTED` for its input ``x`` (float32 ``[N, C, H, W]`` or ``[N, C]``)."""
    inputs = _inputs(op, x, generator)
    mean = inputs.mean(1, keepdim=True)
    # Without their means the products need no more digits than float32 has.
    centred = inputs - mean
    return Moments(mean[:, 0].double(), (centred.transpose(1, 2) @ centred).double(), inputs.shape[1])


def _inputs(op: Operation, x: Tensor, generator: torch.Generator) -> Tensor:
    """What is multiplied with the weights of each group, ``[G, rows, K]``, for some or all of the output's pixels."""
    groups = op.groups
    if x.ndim == 2:
        return x.reshape(len(x), groups, -1).transpose(0, 1)
    edge, (height, width) = op.kernel // 2, op.size_out
    framed = functional.pad(x, (edge,) * 4) if edge else x
    chosen = torch.arange(height * width)
    if len(chosen) > PIXELS:
        chosen = torch.randint(height * width, (PIXELS,), generator=generator)
    first = (chosen // width * op.stride) * framed.shape[3] + chosen % width * op.stride
    taps = torch.arange(op.kernel)
    offsets = (taps[:, None] * framed.shape[3] + taps).flatten()
    around = framed.flatten(2)[:, :, first[:, None] + offsets]
    return around.reshape(len(x), groups, -1, len(first), len(offsets)).permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)
