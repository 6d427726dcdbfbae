"""What a block learns from: its integer inputs and the float network's output, whole or in random crops."""

from dataclasses import dataclass

import torch
from torch import Tensor

from quant.ptq.encoding import Encoding
from quant.reconstruct.blocks import Block

#: Side of a crop in output pixels, its border of one pixel not counted, and crops of that size in a batch.
CROP, BATCH = 32, 8
#: Most pictures in a batch, however small the maps.
BATCH_MAX = 16


@dataclass(frozen=True)
class Batch:
    """``u`` of the inputs by name, the wanted output ``[B, C, ...]`` (float32), and 1 where an output pixel counts."""

    inputs: dict[str, Tensor]
    target: Tensor
    counts: Tensor


def unrounded(codes: Tensor, encoding: Encoding) -> Tensor:
    """The real value of integers ``[N, C, ...]`` divided by the channels' factors, float32 ``u``."""
    zeros = encoding.zeros.to(codes.device).float().reshape(1, -1, *[1] * (codes.ndim - 2))
    return (codes.float() - zeros) * encoding.scale


class Samples:
    """Draws batches of a block's inputs (int8 by name, ``[N, C, ...]``) and targets (float32), on the device of ``place``."""

    def __init__(
        self, block: Block, inputs: dict[str, Tensor], target: Tensor, encodings: dict[str, Encoding], place: torch.device
    ):
        self.block, self.inputs, self.target, self.encodings, self.place = block, inputs, target, encodings, place
        size = tuple(target.shape[2:])
        side = CROP + 2 if block.local else max(size, default=1)
        self.extent = tuple(min(side, whole) for whole in size)
        pixels = self.extent[0] * self.extent[1] if size else 1
        self.batch = min(len(target), max(BATCH, min(BATCH_MAX, BATCH * CROP * CROP // pixels)))

    def draw(self, generator: torch.Generator) -> Batch:
        """Return a random batch: different pictures, and of each any part."""
        chosen = torch.randperm(len(self.target), generator=generator)[: self.batch].tolist()
        parts = [self._part(number, generator) for number in chosen]
        inputs = {name: torch.cat([part.inputs[name] for part in parts]) for name in self.inputs}
        return Batch(inputs, torch.cat([part.target for part in parts]), torch.cat([part.counts for part in parts]))

    def _part(self, number: int, generator: torch.Generator) -> Batch:
        which = slice(number, number + 1)
        size, stride = self.target.shape[2:], self.block.stride
        origin = [
            int(torch.randint(whole - part + 1, (), generator=generator)) for whole, part in zip(size, self.extent, strict=True)
        ]
        window = [slice(at, at + part) for at, part in zip(origin, self.extent, strict=True)]
        target = self.target[(which, slice(None), *window)].to(self.place)
        counts = torch.ones(1, 1, *self.extent, device=self.place)
        for axis, (at, part, whole) in enumerate(zip(origin, self.extent, size, strict=True), start=2):
            # What lies beyond the crop is missing in its outermost pixels, unless the map ends there, too.
            if at > 0:
                counts.narrow(axis, 0, 1).zero_()
            if at + part < whole:
                counts.narrow(axis, part - 1, 1).zero_()
        if self.extent != tuple(size):
            window = [slice(at * stride, (at + part) * stride) for at, part in zip(origin, self.extent, strict=True)]
        else:
            window = []
        inputs = {
            name: unrounded(codes[(which, slice(None), *window)].to(self.place), self.encodings[name])
            for name, codes in self.inputs.items()
        }
        return Batch(inputs, target, counts)
