"""What a layer's integers stand for."""

import numpy as np
import pytest

from quant.layer import Layer, Post, Residual
from quant.onnx.steps import saturates_visibly, steps


def layer(post: Post, *, scale: float = 0.5, zero: int = 0, three: int = 0, logits: bool = False) -> Layer:
    arrays = {"mult": 40000, "shift": 17, "three": three, "zero": zero, "bias": 0}
    made = {name: np.full(2, value, np.int32) for name, value in arrays.items()}
    return Layer("fc", "fc", ("x",), (2,), scale, {"logits": logits}, post, made)


def test_plain_steps_are_exact():
    found = steps(layer(Post("none", 3)), Post("none", 3))
    assert found.t.tolist() == [0.5 / 8] * 2
    assert found.acc.tolist() == [0.5 / 8 * 40000 / 2**17] * 2
    assert found.factor.tolist() == [1.0, 1.0]


def test_logits_have_the_scale_of_t():
    assert steps(layer(Post(), logits=True, scale=0.01), Post()).t.tolist() == [0.01, 0.01]


def test_hardswish_without_migration_has_the_step_of_the_contract():
    post, delta = Post("hardswish", 12), np.sqrt(6 * 0.5 * 2.0**-12)
    found = steps(layer(post, three=round(3 / delta)), post)
    assert found.t.tolist() == [delta, delta]
    assert found.factor.tolist() == [1.0, 1.0]


def test_hardswish_with_migration_is_divided_by_the_channel_s_factor():
    post, migration = Post("hardswish", 14), 0.25
    delta = np.sqrt(6 * 0.5 * migration * 2.0**-14)
    found = steps(layer(post, three=round(3 / delta)), post)
    assert found.t == pytest.approx(delta, rel=1e-2)
    assert found.factor == pytest.approx(1 / migration, rel=1e-2)
    # The product of both steps is the integers' own: t * gate / 2^14 is one step of the output.
    assert found.factor * found.t**2 / 6 == pytest.approx(0.5 * 2.0**-14, rel=1e-12)


def test_hardswish_that_is_always_zero():
    post = Post("hardswish", 12)
    assert steps(layer(post, three=0), post).factor.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("post", "zero", "three", "visible"),
    [
        (Post("none", 0), 0, 0, False),
        (Post("none", 8), 0, 0, False),
        (Post("none", 8), -2, 0, True),
        (Post("none", 9), 0, 0, True),
        (Post("none", 0, Residual("r", 0)), 0, 0, True),
        (Post("hardswish", 14), 0, 1000, False),
        (Post("hardswish", 20), 0, 1000, True),
        (Post("hardswish", 20), 0, 0, False),
    ],
)
def test_saturation_of_t_shows_only_where_that_of_q_does_not_hide_it(post, zero, three, visible):
    assert saturates_visibly(layer(post, zero=zero, three=three), post) is visible
