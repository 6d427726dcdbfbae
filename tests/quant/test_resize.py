"""An artifact for pictures of another size."""

import numpy as np
import pytest

from quant.artifact import Artifact
from quant.networks.random_weights import random_network
from quant.networks.spec import spec
from quant.quantize import quantize
from quant.resize import resized
from sim.golden.model import GoldenModel
from triovit.errors import UserError


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (4, 3, 64, 96), np.uint8)


@pytest.fixture(scope="module")
def segmenter(pictures: np.ndarray) -> Artifact:
    return quantize(random_network(spec("b0-seg").at((64, 96)), pictures, 2), pictures)


def test_its_own_size_changes_nothing(segmenter: Artifact) -> None:
    assert resized(segmenter, (64, 96)) is segmenter


def test_a_picture_that_repeats_has_the_sums_of_one(segmenter: Artifact, pictures: np.ndarray) -> None:
    """Twice the pixels with the same keys and values: attention's sums double, and its scaled integers stay."""
    model = GoldenModel(segmenter)
    att = next(layer for layer in segmenter.layers if layer.kind == "attention")
    inputs = {name: model.run(pictures[:1]).tensors[name] for name in att.inputs}
    twice = GoldenModel(resized(segmenter, (128, 96))).run_layer(
        att.name, {k: np.tile(v, (1, 1, 2, 1)) for k, v in inputs.items()}
    )
    once = model.run_layer(att.name, inputs)
    # The scaled multipliers have rounding of their own, so that a sum in the middle of two integers may fall on the other one.
    assert np.abs(twice[f"{att.name}.z"].astype(int) - once[f"{att.name}.z"]).max() <= 1
    assert np.abs(twice[f"{att.name}.ksum"].astype(int) - once[f"{att.name}.ksum"]).max() <= 1
    assert once[f"{att.name}.ksum"].any()


def test_shapes_follow(segmenter: Artifact) -> None:
    made = resized(segmenter, (96, 64))
    assert (made.input_shape, made.network["resolution"]) == ((3, 96, 64), [96, 64])
    assert made.layer(made.output).output_shape == (19, 12, 8)
    assert made.layer("head.up4").output_shape == (32, 12, 8)
    assert GoldenModel(made).run(np.zeros((1, 3, 96, 64), np.uint8)).output.shape == (1, 19, 12, 8)


def test_pooling_means_over_the_new_number(pictures: np.ndarray) -> None:
    classifier = quantize(random_network(spec("b0").at((64, 96)), pictures, 3), pictures)
    pool, old = resized(classifier, (128, 96)).layer("head.pool"), classifier.layer("head.pool")
    assert (pool.output_shape, pool.arrays["bias"].tolist()) == (old.output_shape, (2 * old.arrays["bias"]).tolist())
    factor, before = (x.arrays["mult"] * 2.0 ** -x.arrays["shift"] for x in (pool, old))
    assert (2 * factor == before).all()


def test_refusals(segmenter: Artifact) -> None:
    with pytest.raises(UserError, match=r"^network b0-seg: 100x64 is no multiple of 32; choose a size that is$"):
        resized(segmenter, (64, 100))
    with pytest.raises(UserError, match=r"^b0-seg at 2048x2048: layer S3\.1\.MLA\.att: the accumulator of head 0 can reach 2663"):
        resized(segmenter, (2048, 2048))


def test_what_the_accelerator_runs(segmenter: Artifact) -> None:
    part = segmenter.mapped()
    assert (part.output, part.network["task"], part.layers[-1].name) == ("S4.2.MB.pw2", "backbone", "S4.2.MB.pw2")
    part.check("part")
    assert part.mapped() is part
