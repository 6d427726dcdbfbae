"""The float network inside an artifact: its tensors as NumPy arrays, and the network made of them again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quant.artifact import FLOAT, Artifact
from quant.checkpoints import from_state
from quant.networks.model import EfficientViT
from quant.networks.spec import NetworkSpec

#: What tensors do not tell of a network: the manifest's names, which are those of `NetworkSpec`.
_SETTINGS = ("norm_eps", "attention_eps", "mean", "std")


def float_settings(spec: NetworkSpec) -> dict[str, Any]:
    """The fields of the manifest's ``network`` that `restore` needs beside the tensors."""
    return {name: list(value) if isinstance(value := getattr(spec, name), tuple) else value for name in _SETTINGS}


def float_weights(network: EfficientViT) -> dict[str, NDArray[np.float32]]:
    """A copy of the state dict, float32, under mit-han-lab's names; BatchNorm's counters left out."""
    return {
        name: value.detach().cpu().float().numpy().copy()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def restore(artifact: Artifact, directory: Path) -> EfficientViT:
    """The float network that an artifact with ``float_weights`` carries, in evaluation mode, at the artifact's resolution.

    ``directory`` is the artifact's, for messages.

    Raises
    ------
    UserError
        The tensors are damaged or are no EfficientViT's.
    """
    weights: Mapping[str, NDArray[np.float32]] = artifact.float_weights or {}
    # Copied, for torch wants arrays that may be written to.
    state = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
    _, height, width = artifact.input_shape
    found = from_state(state, directory / FLOAT, (height, width))
    recorded = {name: artifact.network[name] for name in _SETTINGS if name in artifact.network}
    settings: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()}
    spec = replace(found.spec, **settings)
    if spec == found.spec:
        return found
    with torch.device("meta"):
        network = EfficientViT(spec)
    network.load_state_dict(found.state_dict(), assign=True)
    return network.eval().requires_grad_(False)
