"""The torch replay beside the golden model: the second of the three implementations of the integer contract."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.compare import Comparison, compare
from sim.golden.model import GoldenModel
from sim.golden.trace import Trace

if TYPE_CHECKING:
    from quant.artifact import Artifact


def compare_replay(artifact: "Artifact", pictures: NDArray[np.uint8]) -> Comparison:
    """Every tensor of the replay against the golden model's, with ``==``, for uint8 pictures ``[N, 3, H, W]``."""
    from quant.replay import replay

    runs = [replay(artifact, picture) for picture in pictures]
    golden = GoldenModel(artifact).run(pictures)
    tensors = {name: np.stack([run[name] for run in runs]) for name in runs[0]}
    return compare(golden, Trace(golden.layers, tensors, golden.output_name))
