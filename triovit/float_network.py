"""What the float network says about pictures, to set the integer network beside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from triovit.errors import UserError
from triovit.progress import Progress

if TYPE_CHECKING:
    from quant.artifact import Artifact
    from quant.networks.model import EfficientViT
    from triovit.pictures import Scored


class FloatNetwork:
    """A float network as a function of arrays.

    uint8 ``[N, 3, H, W]`` to logits float32 ``[N, classes]``, of a segmentation network ``[N, classes, h, w]``.
    """

    def __init__(self, network: "EfficientViT") -> None:
        self._network = network.eval()

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The logits of these pictures, computed at once."""
        import torch

        with torch.inference_mode():
            logits: NDArray[np.float32] = self._network(self._network.normalise(torch.from_numpy(pictures))).numpy()
        return logits


def beside(artifact: "Artifact", directory: Path, model: str | None = None) -> FloatNetwork | None:
    """The float network to set beside ``artifact``, which lies in ``directory``: ``model``'s if given, else the artifact's own.

    None where the artifact carries none.

    Raises
    ------
    UserError
        ``model`` or the artifact's tensors cannot be used, or ``model`` makes other logits than the artifact.
    """
    from quant.checkpoints import load
    from quant.float_weights import restore

    _, height, width = artifact.input_shape
    if model is None:
        return None if artifact.float_weights is None else FloatNetwork(restore(artifact, directory))
    network = load(model, (height, width))
    wanted: dict[str, Any] = artifact.network
    if (network.spec.task, network.spec.classes) != (wanted["task"], wanted["classes"]):
        raise UserError(
            f"{model}: is a {network.spec.task} network of {network.spec.classes} classes, and {directory} is a "
            f"{wanted['task']} network of {wanted['classes']}; give the network that the artifact was made of"
        )
    return FloatNetwork(network)


def float_score(network: "EfficientViT", given: "Scored", progress: Progress) -> dict[str, Any]:
    """The manifest's ``float``: ``score`` in [0, 1], ``metric``, ``images``; of label maps ``pixel_accuracy``, ``classes``."""
    from sim.evaluate import score
    from sim.scoring.scores import MeanIoU, Top1

    scorer = Top1() if given.classes is None else MeanIoU(given.classes)
    score(FloatNetwork(network), given.pictures, given.labels, scorer, progress)
    found = {"score": scorer.score, "metric": scorer.metric, "images": len(given.pictures)}
    return found if given.classes is None else {**found, "pixel_accuracy": scorer.pixel_accuracy, "classes": given.classes.name}
