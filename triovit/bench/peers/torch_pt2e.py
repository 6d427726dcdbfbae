"""Torch's own quantization of an exported graph (PT2E, in torchao) with the quantizer for x86 processors.

The inputs and weights of convolutions and linear layers are quantized; matmuls, the attention's quotient, pooling and LayerNorm
stay float. It has observers and no remedy: no bias correction, no equalization.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

__all__ = ["quantize"]


def quantize(network: nn.Module, inputs: list[Tensor], setting: str) -> Callable[[Tensor], Tensor]:
    """Quantize with ranges from ``inputs``; see `triovit.bench.peers.tools` for the settings."""
    from torchao.quantization.pt2e.observer import HistogramObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    config = x86.get_default_x86_inductor_quantization_config()
    if setting == "fine-scales":
        least = torch.finfo(torch.float32).eps
        activation = replace(config.input_activation, observer_or_fake_quant_ctr=HistogramObserver.with_args(eps=least))
        weight = replace(config.weight, observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=least))
        config = replace(config, input_activation=activation, output_activation=activation, weight=weight)
    prepared = prepare_pt2e(torch.export.export(network, (inputs[0],)).module(), x86.X86InductorQuantizer().set_global(config))
    with torch.no_grad():
        for given in inputs:
            prepared(given)
    quantized: Callable[[Tensor], Tensor] = convert_pt2e(prepared)
    return quantized
