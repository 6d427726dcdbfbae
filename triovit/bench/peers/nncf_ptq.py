"""NNCF's post-training quantization of the torch network.

Convolutions, linear layers, matmuls and additions get quantizers before them. As it comes, NNCF quantizes the attention's
divisor, too, and on B0 every logit is NaN, so that the score is that of a guess. ``model_type=TRANSFORMER`` spares the divisor.
SmoothQuant reaches matmuls and linear layers only; asked for convolutions it stops at the depthwise ones: ``RuntimeError: The
size of tensor a (192) must match the size of tensor b (16) at non-singleton dimension 0``. The torch backend has no bias
correction but the fast one.
"""

import os
import sys
import sysconfig
from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["quantize"]


def quantize(network: nn.Module, inputs: list[Tensor], setting: str) -> Callable[[Tensor], Tensor]:
    """Quantize with ranges from ``inputs``; see `triovit.bench.peers.tools` for the settings."""
    _prepare_environment()
    import nncf

    options: dict[str, object] = {}
    if setting != "plain":
        options["model_type"] = nncf.ModelType.TRANSFORMER
    if setting == "smooth-convolutions":
        options["advanced_parameters"] = nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=0.5, matmul=0.95)
        )
    if setting == "float-attention":
        options["ignored_scope"] = nncf.IgnoredScope(types=["matmul"])
        # Half-range weights are for processors whose 8-bit products overflow; nothing overflows here.
        options["advanced_parameters"] = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE)
    quantized: Callable[[Tensor], Tensor] = nncf.quantize(network, nncf.Dataset(inputs), subset_size=len(inputs), **options)
    return quantized


def _prepare_environment() -> None:
    """Set what NNCF reads from the environment when it is imported."""
    # Nobody who runs a measurement asked for reports to NNCF's makers.
    os.environ["NNCF_CI"] = "1"
    # It compiles an extension, with ninja, once in each environment; a busy machine needs more than the usual minute.
    os.environ["NNCF_EXTENSION_LOAD_TIMEOUT"] = "600"
    os.environ["TORCH_EXTENSIONS_DIR"] = os.path.join(sys.prefix, "torch_extensions")
    os.environ["PATH"] = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
