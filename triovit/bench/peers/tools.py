"""What the runner knows of the tools; each is imported when it is used."""

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from triovit.errors import UserError

#: Network in evaluation mode (it may be changed), inputs float ``[1, 3, H, W]``, name of a setting; gives the quantized network.
Quantize = Callable[[nn.Module, list[Tensor], str], Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Tool:
    """One quantizer."""

    #: Its package in the registry.
    package: str
    #: The module of `triovit.bench.peers` that calls it, in a function ``quantize``.
    module: str
    #: What each setting does, by name; the first, the default, is the best found over all networks.
    settings: dict[str, str]

    @property
    def version(self) -> str:
        """The installed version.

        Raises
        ------
        UserError
            The package is not installed.
        """
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise UserError(f"{self.package}: is not installed; run `make peers` and use .venv-peers/bin/python") from error

    @property
    def quantize(self) -> Quantize:
        """The function that calls it."""
        function: Quantize = importlib.import_module(f"triovit.bench.peers.{self.module}").quantize
        return function


TOOLS = {
    "nncf": Tool(
        "nncf",
        "nncf_ptq",
        {
            "float-attention": "transformer, but float matmuls and no overflow fix",
            "transformer": "model_type=TRANSFORMER (mixed preset, SmoothQuant of matmuls, fast bias correction)",
            "smooth-convolutions": "transformer, and SmoothQuant of convolutions (alpha 0.5)",
            "plain": "nncf.quantize without options (performance preset, fast bias correction)",
        },
    ),
    "brevitas": Tool(
        "brevitas",
        "brevitas_ptq",
        {
            "equalized": "layerwise, after activation equalization (alpha 0.5, layerwise)",
            "layerwise": "int8 weights per channel, uint8 asymmetric activations, percentile 99.999, bias correction",
        },
    ),
    "pt2e": Tool(
        "torchao",
        "torch_pt2e",
        {
            "fine-scales": "X86InductorQuantizer, its observers without the lower bound 2^-12 of every scale",
            "plain": "X86InductorQuantizer as it comes (uint8 activations from histograms, int8 weights per channel)",
        },
    ),
}
