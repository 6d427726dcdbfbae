"""Second moments of what layers multiply: how the inputs of a sum of products vary together, over the calibration pictures."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from quant.networks.layout import Operation

#: Output pixels of a picture whose neighbourhoods are looked at, where a kernel has some.
PIXELS = 1024
#: Kinds of layers that have weights.
WEIGHTED = ("conv", "pw", "dw", "fc")


@dataclass
class Moments:
    """Sums over the inputs of a layer's products, float64; ``G`` is its groups, ``K`` the inputs of a product."""

    #: Of the inputs, ``[G, K]``, and of their products with one another, ``[G, K, K]``.
    first: Tensor
    second: Tensor
    count: int

    def add(self, other: "Moments") -> None:
        """Add those of other pictures."""
        self.first, self.second, self.count = self.first + other.first, self.second + other.second, self.count + other.count

    @property
    def covariance(self) -> Tensor:
        """``[G, K, K]``."""
        mean = self.first / self.count
        return self.second / self.count - mean[:, :, None] * mean[:, None]

    @property
    def product(self) -> Tensor:
        """Mean products, ``[G, K, K]``."""
        return self.second / self.count


def moments(op: Operation, x: Tensor, generator: torch.Generator) -> Moments:
    """The moments of one of `WEIGHTED` for its input ``x`` (float32 ``[N, C, H, W]`` or ``[N, C]``)."""
    inputs = _inputs(op, x, generator)
    second = inputs.transpose(1, 2) @ inputs
    return Moments(inputs.double().sum(1), second.double(), inputs.shape[1])


def _inputs(op: Operation, x: Tensor, generator: torch.Generator) -> Tensor:
    """What is multiplied with the weights of each group, ``[G, rows, K]``, for some or all of the output's pixels."""
    groups = op.groups
    if x.ndim == 2:
        return x.reshape(len(x), groups, -1).transpose(0, 1)
    if op.kernel == 1:
        return x.reshape(len(x), groups, -1, x.shape[2] * x.shape[3]).permute(1, 0, 3, 2).flatten(1, 2)
    edge, (height, width) = op.kernel // 2, op.size_out
    framed = functional.pad(x, (edge,) * 4)
    chosen = torch.randint(height * width, (min(PIXELS, height * width),), generator=generator)
    first = (chosen // width * op.stride) * framed.shape[3] + chosen % width * op.stride
    taps = torch.arange(op.kernel)
    offsets = (taps[:, None] * framed.shape[3] + taps).flatten()
    around = framed.flatten(2)[:, :, first[:, None] + offsets]
    return around.reshape(len(x), groups, -1, len(first), len(offsets)).permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)
