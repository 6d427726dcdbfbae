"""Brevitas' post-training quantization, layer by layer.

Its graph backend, which would quantize what lies between layers as well, stops at the attention: ``AttributeError:
'IntQuantTensor' object has no attribute 'split'``. Told to pass plain tensors it runs, and scores no better than a guess on B0.
The layerwise backend quantizes weights and inputs of convolutions and linear layers; hardswish, attention, additions, pooling and
LayerNorm stay float. Activation equalization puts a float multiplication of every channel before each layer.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

__all__ = ["quantize"]

#: Share of the activations, in percent, that a range covers; Brevitas' benchmarks use it.
_PERCENTILE = 99.999
#: How much of an activation's range moves into the weights; SmoothQuant's own choice.
_ALPHA = 0.5


def quantize(network: nn.Module, inputs: list[Tensor], setting: str) -> Callable[[Tensor], Tensor]:
    """Quantize with ranges from ``inputs``; see `triovit.bench.peers.tools` for the settings."""
    import brevitas.nn as qnn
    from brevitas.core.scaling.standalone import ParameterFromStatsFromParameterScaling
    from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
    from brevitas.graph.equalize import activation_equalization_mode
    from brevitas.graph.quantize import layerwise_quantize, preprocess_for_quantize
    from brevitas.quant.scaled_int import Int8WeightPerChannelFloat
    from brevitas.quant.shifted_scaled_int import ShiftedUint8ActPerTensorFloat

    prepared = preprocess_for_quantize(network)
    with torch.no_grad():
        if setting == "equalized":
            with activation_equalization_mode(prepared, alpha=_ALPHA, layerwise=True, add_mul_node=True):
                _run(prepared, inputs)
        quantizers = {
            "weight_quant": Int8WeightPerChannelFloat.let(scaling_impl=ParameterFromStatsFromParameterScaling),
            "input_quant": ShiftedUint8ActPerTensorFloat.let(high_percentile_q=_PERCENTILE, low_percentile_q=100 - _PERCENTILE),
            "bias_quant": None,
            "return_quant_tensor": False,
        }
        layers = {nn.Conv2d: (qnn.QuantConv2d, quantizers), nn.Linear: (qnn.QuantLinear, quantizers)}
        quantized = layerwise_quantize(prepared, layers).eval()
        # The first run sets the scales of the weights, which calibration and correction need.
        _run(quantized, inputs[:1])
        with calibration_mode(quantized):
            _run(quantized, inputs)
        with bias_correction_mode(quantized):
            _run(quantized, inputs)
    result: Callable[[Tensor], Tensor] = quantized
    return result


def _run(network: nn.Module, inputs: Iterable[Tensor]) -> None:
    for given in inputs:
        network(given)
