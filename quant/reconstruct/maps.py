"""The tensors between blocks, of all pictures."""

import torch
from torch import Tensor

from quant.layer import Layer
from quant.networks.model import EfficientViT
from quant.ptq.graph import compute
from quant.reconstruct.blocks import Block
from quant.replay import compute as compute_integers

#: Pictures whose layers are computed at once.
BATCH = 8


class Maps:
    """Tensors that later blocks read, of the float network, and of the integer one as int8."""

    def __init__(self, network: EfficientViT, found: list[Block], pictures: Tensor):
        self.network, self.count = network, len(pictures)
        self.floats = {"image": network.normalise(pictures)}
        self.codes = {"image": (pictures.short() - 128).char()}
        self.last_use = {name: index for index, block in enumerate(found) for name in block.inputs}

    def target(self, block: Block) -> Tensor:
        """The float network's output of the block."""
        with torch.no_grad():
            parts = []
            for start in range(0, self.count, BATCH):
                tensors = {name: self.floats[name][start : start + BATCH] for name in block.inputs}
                for layer in block.layers:
                    tensors[layer.op.name], _ = compute(self.network, layer, tensors)
                parts.append(tensors[block.output.name])
        return torch.cat(parts)

    def integers(self, made: list[Layer], block: Block, which: Tensor) -> Tensor:
        """The block's integer output for the pictures ``which`` (int64 ``[n]``)."""
        parts = []
        with torch.no_grad():
            for chosen in which.split(BATCH):
                tensors = {name: self.codes[name][chosen].long() for name in block.inputs}
                for layer in made:
                    tensors[layer.name] = compute_integers(layer, tensors)
                parts.append(tensors[made[-1].name])
        return torch.cat(parts)

    def advance(self, index: int, block: Block, target: Tensor, codes: Tensor) -> None:
        """Take up a finished block's outputs, and drop what no later block reads."""
        self.floats[block.output.name], self.codes[block.output.name] = target, codes.char()
        for maps in (self.floats, self.codes):
            for name in [name for name in maps if self.last_use.get(name, -1) <= index]:
                del maps[name]
