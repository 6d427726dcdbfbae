"""What the float network says about pictures, to set the integer network beside it."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from triovit.progress import Progress

if TYPE_CHECKING:
    from quant.networks.model import EfficientViT

_STAGE, _BATCH = "float network", 32


def predictions(network: "EfficientViT", pictures: NDArray[np.uint8], progress: Progress) -> NDArray[np.int64]:
    """The class of each picture, the largest logit's."""
    import torch

    classes = np.empty(len(pictures), np.int64)
    network.eval()
    progress(_STAGE, 0, len(pictures))
    with torch.inference_mode():
        for first in range(0, len(pictures), _BATCH):
            part = slice(first, min(first + _BATCH, len(pictures)))
            logits = network(network.normalise(torch.from_numpy(pictures[part])))
            classes[part] = logits.argmax(1).numpy()
            progress(_STAGE, part.stop, len(pictures))
    return classes
