"""Trains the built-in digits network: ``python -m quant.train_digits`` writes the packaged weights anew, the same each time."""

import argparse
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from quant.checkpoints import PACKAGED
from quant.data import Progress, digits
from quant.networks.model import EfficientViT
from quant.networks.spec import spec

#: Largest shift of a training picture, in pixels each way.
_JITTER = 3


def top1(network: EfficientViT, pictures: Tensor, labels: Tensor) -> float:
    """Return the share of uint8 pictures ``[N, 3, H, W]`` whose largest logit is the label's."""
    network.eval()
    with torch.no_grad():
        found = torch.cat([network(network.normalise(part)).argmax(1) for part in pictures.split(64)])
    return float((found == labels).double().mean())


def _jitter(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shift every picture by a few pixels; what comes in is black."""
    padded = functional.pad(pictures, [_JITTER] * 4)
    side = pictures.shape[-1]
    offsets = torch.randint(0, 2 * _JITTER + 1, (len(pictures), 2), generator=generator).tolist()
    return torch.stack([picture[:, y : y + side, x : x + side] for picture, (y, x) in zip(padded, offsets, strict=True)])


def train(epochs: int = 40, seed: int = 0, progress: Progress | None = None) -> tuple[EfficientViT, float]:
    """Train the digits network; return it in evaluation mode with its top-1 on the held-out pictures.

    Two runs with the same arguments on the same machine and libraries give the same weights.

    Raises
    ------
    UserError
        scikit-learn is not installed.
    """
    data, threads = digits(), torch.get_num_threads()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    try:
        network = EfficientViT(spec("digits"))
        pictures, labels = torch.from_numpy(data.train), torch.from_numpy(data.train_labels)
        steps = -(-len(pictures) // 64)
        optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * steps)
        for epoch in range(epochs):
            network.train()
            for batch in torch.randperm(len(pictures), generator=generator).split(64):
                logits = network(network.normalise(_jitter(pictures[batch], generator)))
                loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.1)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            if progress:
                progress("training", epoch + 1, epochs)
        return network, top1(network, torch.from_numpy(data.held_out), torch.from_numpy(data.held_out_labels))
    finally:
        torch.set_num_threads(threads)


def main(arguments: list[str] | None = None) -> None:
    """Train and write the weights; print the held-out top-1."""
    parser = argparse.ArgumentParser(prog="python -m quant.train_digits", description="Train the built-in digits network.")
    parser.add_argument("--out", type=Path, default=PACKAGED["digits"], help="file to write (default: the packaged one)")
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args(arguments)
    network, score = train(options.epochs)
    safetensors.torch.save_file({name: value.contiguous() for name, value in network.state_dict().items()}, options.out)
    print(f"held-out top-1 {100 * score:.2f}%, weights in {options.out}")


if __name__ == "__main__":
    main()
