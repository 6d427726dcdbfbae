"""Networks without training whose activations stay in scale: what tests and benches quantize where there is no checkpoint."""

import torch
from torch import Tensor, nn

from quant.data import Pictures, check_pictures
from quant.networks.model import EfficientViT, Residual
from quant.networks.spec import NetworkSpec
from triovit.errors import UserError

#: Spread of the norms' factors and offsets, so that channels differ as they do in trained networks.
_FACTOR_SPREAD, _OFFSET_SPREAD = 0.5, 0.5
#: Share of a residual branch in the sum: small, as training leaves it, so that errors do not grow from block to block.
_BRANCH = 0.25


def random_network(spec: NetworkSpec, pictures: Pictures, seed: int = 0) -> EfficientViT:
    """Return a network with random weights, in evaluation mode; the same seed and pictures give the same network.

    One pass over the pictures sets every BatchNorm's mean and variance to those of its input, and scales the weights of every
    convolution and fully connected layer without a norm so that its output has a deviation of 1. Source: layer-sequential
    unit-variance initialisation (arXiv 1511.06422).

    Parameters
    ----------
    spec
        The network; the pictures have its resolution.
    pictures
        uint8 ``[N, 3, H, W]``, two at least, for a variance needs them where the last map is one pixel. They run at once.
    seed
        Of the weights.

    Raises
    ------
    UserError
        Pictures of another type or size, or fewer than two.
    """
    batch = torch.from_numpy(check_pictures(pictures, spec.resolution))
    if len(batch) < 2:
        raise UserError(f"pictures: is {len(batch)}, and a random network needs the variance of more; give at least 2")
    with torch.device("meta"):
        network = EfficientViT(spec)
    network = network.to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        _initialise(module, generator)
    for module in network.modules():
        if isinstance(module, Residual) and module.shortcut:
            last = [norm for norm in module.main.modules() if isinstance(norm, nn.BatchNorm2d)][-1]
            last.weight.mul_(_BRANCH)
            last.bias.mul_(_BRANCH)
    followed = {child.conv for child in network.modules() if isinstance(getattr(child, "norm", None), nn.BatchNorm2d)}
    hooks = [
        module.register_forward_hook(_to_unit_deviation)
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module not in followed
    ]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = nn.BatchNorm2d(1).momentum
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(network.normalise(batch))
    for hook in hooks:
        hook.remove()
    for norm in norms:
        norm.momentum = usual
    return network.eval()


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the module's own numbers."""

    def draw(target: Tensor | None, mean: float, spread: float) -> None:
        if target is not None:
            target.copy_(torch.randn(target.shape, generator=generator) * spread + mean)

    if isinstance(module, (nn.Conv2d, nn.Linear)):
        draw(module.weight, 0.0, module.weight[0].numel() ** -0.5)
        draw(module.bias, 0.0, _OFFSET_SPREAD)
    elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
        draw(module.weight, 0.0, _FACTOR_SPREAD)
        module.weight.exp_()
        draw(module.bias, 0.0, _OFFSET_SPREAD)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()


def _to_unit_deviation(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """A hook that scales the weights, and the output with them."""
    factor = 1 / output.std().clamp(min=1e-6)
    for value in module.parameters(recurse=False):
        value.mul_(factor)
    return output * factor
