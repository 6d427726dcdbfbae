"""The blocks that are reconstructed one after the other."""

import re
from dataclasses import dataclass
from itertools import groupby
from math import prod

from quant.networks.layout import Operation
from quant.ptq.graph import FloatLayer

#: A block's name is what its layers' names begin with; the heads' layers belong together as they are listed.
_NAMED = re.compile(r"(stem\.\d+|.*\.(?:MB|MLA))(?:\.|$)")
_HEADS = ({"head.conv", "head.pool"}, {"head.fc1", "head.ln", "head.fc2"}, {"head.out1", "head.out2"})
#: Kinds of layers whose outputs are made of nearby pixels alone.
_LOCAL = {"conv", "dw", "pw"}


@dataclass(frozen=True)
class Block:
    """Consecutive layers of which only the last one's output is read by others."""

    name: str
    layers: tuple[FloatLayer, ...]

    @property
    def ops(self) -> list[Operation]:
        """The layers' operations."""
        return [layer.op for layer in self.layers]

    @property
    def output(self) -> Operation:
        """The operation that gives the block's output."""
        return self.layers[-1].op

    @property
    def inputs(self) -> list[str]:
        """Names of the tensors that the block reads, each once."""
        own = {op.name for op in self.ops}
        read = [name for op in self.ops for name in (*op.inputs, op.residual) if name and name not in own]
        return list(dict.fromkeys(read))

    @property
    def stride(self) -> int:
        """Input pixels an output pixel, along each axis."""
        return prod(op.stride for op in self.ops)

    @property
    def local(self) -> bool:
        """Whether parts of the map can be computed from parts of the input, but for a border of one output pixel."""
        return all(op.kind in _LOCAL and op.kernel <= 3 for op in self.ops)

    @property
    def attends(self) -> bool:
        """Whether the block has linear attention."""
        return any(op.kind == "attention" for op in self.ops)


def _block_name(op: Operation) -> str:
    if found := _NAMED.match(op.name):
        return found[1]
    for names in _HEADS:
        if op.name in names:
            return min(names)
    # An upsampling belongs to the convolution before it: head.in4 and head.up4.
    return op.name.replace(".up", ".in")


def blocks(layers: list[FloatLayer]) -> list[Block]:
    """Group a network's layers, in execution order, into blocks."""
    return [Block(name, tuple(part)) for name, part in groupby(layers, key=lambda layer: _block_name(layer.op))]
