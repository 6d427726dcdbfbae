"""The float network as a list of layers without BatchNorm, and its execution."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from quant.networks.layout import Operation, operations
from quant.networks.model import EfficientViT, linear_attention

#: Sees each layer with its output and, where there is a residual, the branch before the sum (else the output again).
Visit = Callable[["FloatLayer", Tensor, Tensor], None]


@dataclass(frozen=True)
class FloatLayer:
    """One operation with its numbers, BatchNorm folded in (float32).

    ``weight`` is ``[O, I/groups, k, k]``, ``[O, I]`` for fully connected layers, gamma for LayerNorm, empty for the others.
    """

    op: Operation
    weight: Tensor
    bias: Tensor


def fold(network: EfficientViT) -> list[FloatLayer]:
    """Return the layers, every BatchNorm folded into the convolution before it."""
    state = network.state_dict()
    return [_fold_one(op, state, network.spec.norm_eps) for op in operations(network.spec)]


def _fold_one(op: Operation, state: dict[str, Tensor], eps: float) -> FloatLayer:
    if op.kind == "layernorm":
        return FloatLayer(op, state[f"{op.norm_key}.weight"], state[f"{op.norm_key}.bias"])
    if not op.key:
        return FloatLayer(op, torch.empty(0), torch.zeros(op.c_out))
    weight = state[f"{op.key}.weight"].double()
    bias = state[f"{op.key}.bias"].double() if op.bias else torch.zeros(op.c_out, dtype=torch.float64)
    if op.batchnorm:
        gamma, beta, mean, var = (
            state[f"{op.norm_key}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / (var + eps).sqrt()
        weight, bias = weight * factor.reshape(-1, 1, 1, 1), (bias - mean) * factor + beta
    return FloatLayer(op, weight.float(), bias.float())


def _accumulate(layer: FloatLayer, inputs: list[Tensor], eps: float, attention_eps: float) -> Tensor:
    op, x = layer.op, inputs[0]
    if op.kind == "fc":
        return functional.linear(x, layer.weight, layer.bias)
    if op.kind == "upsample":
        return functional.interpolate(x, size=op.size_out, mode="bicubic", align_corners=False)
    if op.kind == "pool":
        return x.mean((2, 3))
    if op.kind == "layernorm":
        return functional.layer_norm(x, x.shape[1:], layer.weight, layer.bias, eps)
    if op.kind == "attention":
        return linear_attention(torch.cat(inputs, 1), op.dim, attention_eps)
    return functional.conv2d(x, layer.weight, layer.bias, op.stride, op.kernel // 2, groups=op.groups)


def compute(network: EfficientViT, layer: FloatLayer, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Compute one layer from the tensors that it reads: its output, and the branch before the sum (else the output again)."""
    op, spec = layer.op, network.spec
    branch = _accumulate(layer, [tensors[name] for name in op.inputs], spec.norm_eps, spec.attention_eps)
    if op.residual:
        return branch + tensors[op.residual], branch
    output = functional.hardswish(branch) if op.hardswish else branch
    return output, output


def run(network: EfficientViT, layers: list[FloatLayer], pictures: Tensor, visit: Visit) -> None:
    """Compute every layer on uint8 pictures ``[N, 3, H, W]`` and show each output to ``visit``; outputs are freed once used."""
    last_use = {name: index for index, layer in enumerate(layers) for name in (*layer.op.inputs, layer.op.residual)}
    tensors = {"image": network.normalise(pictures)}
    with torch.no_grad():
        for index, layer in enumerate(layers):
            name = layer.op.name
            tensors[name], branch = compute(network, layer, tensors)
            visit(layer, tensors[name], branch)
            for used in [used for used in tensors if last_use.get(used, -1) <= index and used != name]:
                del tensors[used]
