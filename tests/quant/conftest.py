"""What several tests of the quantizer share."""

from pathlib import Path

import numpy as np
import pytest

from quant.artifact import Artifact
from quant.checkpoints import load
from quant.data import Digits, digits
from quant.networks.model import EfficientViT
from quant.quantize import quantize

SHARED = Path(__file__).parents[2].parent / "shared"


def shared(name: str) -> Path:
    """The file of that name beside the project; skips the test where there is none."""
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside the project")
    return SHARED / name


@pytest.fixture(scope="session")
def pictures() -> Digits:
    return digits()


@pytest.fixture(scope="session")
def network() -> EfficientViT:
    return load("digits")


@pytest.fixture(scope="session")
def artifact(network: EfficientViT, pictures: Digits) -> Artifact:
    return quantize(network, pictures.train[:64], scored=(pictures.held_out, pictures.held_out_labels))


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, 32, 32)).astype(np.uint8)
