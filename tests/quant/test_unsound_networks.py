"""Weights that went wrong: dead and constant channels are quantized, numbers that are none are refused by layer and channel."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from quant.artifact import Artifact
from quant.data import Digits
from quant.networks.layout import Operation, operations
from quant.networks.model import EfficientViT
from quant.networks.spec import spec
from quant.ptq.options import Options
from quant.quantize import quantize
from quant.replay import replay
from sim.golden.model import GoldenModel
from triovit.errors import UserError

FAST = Options(activations="minmax", weights="minmax", attention_pictures=4)
OPERATIONS = {op.name: op for op in operations(spec("digits")) if op.key or op.norm_key}
HARDSWISH = [name for name, op in OPERATIONS.items() if op.hardswish and op.kind != "layernorm"]
WITH_NORM = [name for name, op in OPERATIONS.items() if op.batchnorm]
#: Largest error of a logit, as a share of the largest logit. It needs 64 pictures to calibrate: with 8 even the sound network
#: clips what others reach.
TOLERATED = 0.25
NAN, INFINITE = float("nan"), float("inf")

State = dict[str, Tensor]


def changed(network: EfficientViT, change: Callable[[State], object]) -> EfficientViT:
    """A copy of the network whose state dict went through ``change``."""
    copy = EfficientViT(network.spec)
    copy.load_state_dict(network.state_dict())
    with torch.no_grad():
        change(copy.state_dict())
    return copy.eval().requires_grad_(False)


def constant(state: State, op: Operation, value: float, channels: slice) -> None:
    """Make an operation's channels compute ``value`` before the hardswish, whatever they read."""
    weight = state[f"{op.key or op.norm_key}.weight"]
    weight[channels] = 0
    if op.norm_key:
        state[f"{op.norm_key}.bias"][channels] = value
    if op.batchnorm:
        state[f"{op.norm_key}.running_mean"][channels] = 0
    if op.key and op.bias:
        state[f"{op.key}.bias"][channels] = value


def quantized(network: EfficientViT, pictures: Digits) -> Artifact:
    """The artifact, after golden model and replay gave the same integers."""
    artifact = quantize(network, pictures.train[:64], FAST)
    held_out = pictures.held_out[:2]
    found = GoldenModel(artifact).run(held_out).tensors
    for index, picture in enumerate(held_out):
        expected = replay(artifact, picture)
        assert expected.keys() == found.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name][index], expected[name], err_msg=name)
    return artifact


def error(network: EfficientViT, artifact: Artifact, pictures: Digits) -> float:
    """The largest difference of the logits, as a share of the largest logit."""
    held_out = pictures.held_out[:8]
    exact = network(network.normalise(torch.from_numpy(held_out))).numpy()
    found = GoldenModel(artifact).run(held_out).output * artifact.layer(artifact.output).output_scale
    return float(np.abs(exact - found).max() / np.abs(exact).max())


def tolerated(network: EfficientViT, pictures: Digits) -> float:
    """The largest error that counts as right: of a network that amplifies noise, twice what a code in the picture does to it."""
    held_out, rng = pictures.held_out[:8], np.random.default_rng(0)
    noises = [torch.from_numpy(rng.uniform(-1, 1, held_out.shape).astype(np.float32)) for _ in range(8)]
    exact, *noisy = (network(network.normalise(torch.from_numpy(held_out) + noise)) for noise in (0, *noises))
    return max(TOLERATED, 2 * max(float((one - exact).abs().max() / exact.abs().max()) for one in noisy))


@pytest.mark.parametrize("value", [0.0, -10.0, 3.0])
def test_a_dead_or_constant_channel_in_every_layer(network: EfficientViT, pictures: Digits, value: float) -> None:
    def change(state: State) -> None:
        for op in OPERATIONS.values():
            constant(state, op, value, slice(1))

    sick = changed(network, change)
    assert error(sick, quantized(sick, pictures), pictures) < tolerated(sick, pictures)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_layer_of_zeros(network: EfficientViT, pictures: Digits, name: str) -> None:
    sick = changed(network, lambda state: constant(state, OPERATIONS[name], 0.0, slice(None)))
    artifact = quantized(sick, pictures)
    if name == "head.fc2":
        assert not GoldenModel(artifact).run(pictures.held_out[:8]).output.any()
    else:
        assert error(sick, artifact, pictures) < tolerated(sick, pictures)


@pytest.mark.parametrize("value", [-10.0, 3.0])
@pytest.mark.parametrize("name", HARDSWISH)
def test_a_layer_of_one_value(network: EfficientViT, pictures: Digits, name: str, value: float) -> None:
    sick = changed(network, lambda state: constant(state, OPERATIONS[name], value, slice(None)))
    assert error(sick, quantized(sick, pictures), pictures) < tolerated(sick, pictures)


@pytest.mark.parametrize("name", WITH_NORM)
def test_variances_of_zero(network: EfficientViT, pictures: Digits, name: str) -> None:
    sick = changed(network, lambda state: state[f"{OPERATIONS[name].norm_key}.running_var"].zero_())
    assert error(sick, quantized(sick, pictures), pictures) < tolerated(sick, pictures)


@pytest.mark.parametrize("value", [0, 255])
def test_pictures_of_one_colour(network: EfficientViT, pictures: Digits, value: int) -> None:
    flat = np.full((4, 3, 32, 32), value, np.uint8)
    artifact = quantize(network, flat, FAST)
    found, expected = GoldenModel(artifact).run(flat[:1]).tensors, replay(artifact, flat[0])
    for name in expected:
        np.testing.assert_array_equal(found[name][0], expected[name], err_msg=name)


QKV = "backbone.stages.1.op_list.1.context_module.main.qkv.conv.weight"
STEM = "backbone.input_stem.op_list.0"
PW1 = "backbone.stages.0.op_list.0.main.inverted_conv"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (
                lambda state, value=value: state[QKV][7].fill_(value),
                "layer S2.1.MLA.qkv: channel 7 has weights that are not finite, BatchNorm folded in; "
                "check the weights and BatchNorm's variances",
            )
            for value in (NAN, INFINITE)
        ),
        (
            lambda state: state["head.op_list.3.linear.bias"][2:3].fill_(NAN),
            "layer head.fc2: channel 2 has weights that are not finite, BatchNorm folded in; "
            "check the weights and BatchNorm's variances",
        ),
        (
            lambda state: state["head.op_list.2.norm.weight"][5:6].fill_(INFINITE),
            "layer head.ln: channel 5 has weights that are not finite, BatchNorm folded in; "
            "check the weights and BatchNorm's variances",
        ),
        (
            lambda state: state[f"{PW1}.norm.running_var"][3:4].fill_(-1.0),
            "layer S1.0.MB.pw1: channel 3 has weights that are not finite, BatchNorm folded in; "
            "check the weights and BatchNorm's variances",
        ),
        (
            lambda state: state[f"{STEM}.conv.weight"][4].fill_(1e37),
            "layer stem.0: its output is not finite on the calibration pictures, first in channel 4; "
            "check the weights and the pictures",
        ),
    ],
)
def test_numbers_that_are_not_finite(
    network: EfficientViT, pictures: Digits, change: Callable[[State], object], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        quantize(changed(network, change), pictures.train[:4], FAST)
    assert str(caught.value) == message
