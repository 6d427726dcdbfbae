"""A small network up to the point where its blocks are learned."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import quant.quantize
from quant.data import Digits
from quant.networks.model import EfficientViT
from quant.ptq.encoding import Encoding
from quant.ptq.export import Exporter
from quant.ptq.graph import FloatLayer
from quant.ptq.observe import Observations
from quant.ptq.options import Options
from quant.reconstruct.blocks import Block, blocks
from quant.reconstruct.learn import Result
from quant.reconstruct.maps import Maps
from quant.reconstruct.run import Export, Reconstructed, Reconstruction

OPTIONS = Options(
    activations="minmax", weights="minmax", attention_pictures=8, reconstruction=True, learned_steps="all", iterations=6
)


@dataclass
class Prepared:
    """What `quant.quantize.quantize` hands to `quant.reconstruct.run.reconstruct`."""

    network: EfficientViT
    layers: list[FloatLayer]
    pictures: Tensor
    encodings: dict[str, Encoding]
    seen: Observations
    options: Options
    export: Export

    @property
    def blocks(self) -> list[Block]:
        """The network's blocks."""
        return blocks(self.layers)

    def work(self, until: str) -> tuple[Reconstruction, Block]:
        """A reconstruction with every block before ``until`` rounded to the nearest, and that block."""
        found = self.blocks
        maps = Maps(self.network, found, self.pictures)
        work = Reconstruction(Exporter(dict(self.encodings), self.seen, self.options, {}), self.export, maps, torch.device("cpu"))
        for index, block in enumerate(found):
            if block.name == until:
                return work, block
            work.exporter = work.fork(work.first(block))
            made = work.layers(work.exporter, block)
            maps.advance(index, block, maps.target(block), maps.integers(made, block, torch.arange(maps.count)))
        raise KeyError(until)


@pytest.fixture(scope="session")
def prepared(network: EfficientViT, pictures: Digits) -> Prepared:
    """The digits network with 16 pictures."""
    handed: list[Any] = []

    def take(*given: Any, **_: Any) -> Reconstructed:
        # The exporter will align the encodings where they are.
        handed.extend(dict(part) if isinstance(part, dict) else part for part in given)
        return Reconstructed(Result({}, {}), {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quant.quantize, "reconstruct", take)
        quant.quantize.quantize(network, pictures.train[:16], OPTIONS)
    return Prepared(*handed)
