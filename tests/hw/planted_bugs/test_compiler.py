"""What the compiler makes, tampered with: packets of weights and parameters, a shift, and what tasks wait for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hw.compiler import compile as compiler
from hw.compiler.packets import RECORD, Packet, depthwise_packet, matrix_packet, param_packet
from hw.compiler.program import Program
from hw.config import TOY
from hw.control.descriptor import Opcode, Unit
from quant.contract import QUOTIENT_SHIFT
from tests.hw.planted_bugs.networks import attention, block, fine_attention, folded, plain_block, product, stride
from tests.hw.planted_bugs.planting import Bug, failure_with

true_matrix_packet, true_param_packet, true_depthwise_packet = matrix_packet, param_packet, depthwise_packet


def swapped_channels(*args: Any) -> Packet:
    packet = true_matrix_packet(*args)
    payload = packet.payload.copy().reshape(*packet.payload.shape[:2], TOY.n, TOY.m)
    payload[:, :, [0, 1]] = payload[:, :, [1, 0]]
    return replace(packet, payload=payload.reshape(packet.payload.shape))


def multiplier_of_another_channel(*args: Any) -> Packet:
    """Each channel has the ``three`` of its neighbour, and everything else its own."""
    packet = true_param_packet(*args)
    payload = packet.payload.copy()
    records = payload[:, :, : TOY.m * RECORD.itemsize].reshape(-1, TOY.m, RECORD.itemsize).copy().view(RECORD)[..., 0]
    records["three"] = np.roll(records["three"], 1, axis=1)
    payload[:, :, : TOY.m * RECORD.itemsize] = records.view(np.uint8).reshape(*payload.shape[:2], -1)
    return replace(packet, payload=payload)


def shifted_parameters(*args: Any) -> Packet:
    packet = true_param_packet(*args)
    return replace(packet, payload=np.roll(packet.payload, 16, axis=2))


def padded_with(change: Callable[[np.ndarray], Any]) -> Callable:
    """Packets of depthwise weights with other padding, made from the true one."""
    return lambda config, weight, pad, fold: true_depthwise_packet(config, weight, change(pad), fold)


def padding_in_the_first_row(config: Any, weight: np.ndarray, pad: np.ndarray, fold: int) -> Packet:
    """Rows behind a set's first one have no padding."""
    packet = true_depthwise_packet(config, weight, pad, fold)
    payload = packet.payload.copy().reshape(packet.rows, config.wide, config.t, config.s)
    payload[np.arange(packet.rows) % -(-weight.shape[1] // (config.t - 1)) > 0, :, -1] = 0
    return replace(packet, payload=payload.reshape(packet.payload.shape))


def without_waiting(opcode: Opcode) -> Callable:
    """A program whose tasks of a kind wait for no other unit."""
    true = compiler.compile_network

    def compiled(*args: Any) -> Program:
        program = true(*args)
        return replace(
            program, tasks=tuple(replace(task, wait=Unit(0)) if task.opcode is opcode else task for task in program.tasks)
        )

    return compiled


BUGS: dict[str, Bug] = {
    "quotient shifted too far": ("hw.compiler.lower.attention.QUOTIENT_SHIFT", QUOTIENT_SHIFT + 1, fine_attention, 0),
    "residual multiplier of another channel": (
        "hw.compiler.lower.product.param_packet",
        multiplier_of_another_channel,
        plain_block,
        0,
    ),
    "zeros around the map": ("hw.compiler.lower.depthwise.depthwise_packet", padded_with(np.zeros_like), stride, 0),
    "padding of channel 0 around the map": (
        "hw.compiler.lower.depthwise.depthwise_packet",
        padded_with(lambda pad: np.full_like(pad, pad[0])),
        stride,
        0,
    ),
    "padding of the neighbouring channel": (
        "hw.compiler.lower.depthwise.depthwise_packet",
        padded_with(lambda pad: np.roll(pad, 1)),
        stride,
        0,
    ),
    "padding in a set's first row only": ("hw.compiler.lower.depthwise.depthwise_packet", padding_in_the_first_row, stride, 0),
    "weights for the first chunk only": (
        "hw.compiler.lower.depthwise.depthwise_packet",
        lambda config, weight, pad, fold: true_depthwise_packet(config, weight, pad),
        folded,
        0,
    ),
    "two output channels swapped in the weights": ("hw.compiler.lower.product.matrix_packet", swapped_channels, product, 0),
    "parameters of the neighbouring channel": ("hw.compiler.lower.product.param_packet", shifted_parameters, product, 0),
    "divisors that do not wait for Ksum": ("tests.support.core_check.compile_network", without_waiting(Opcode.DIV), attention, 0),
    "a convolution that does not wait for its input": (
        "tests.support.core_check.compile_network",
        without_waiting(Opcode.DW),
        block,
        0,
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    assert failure_with(monkeypatch, BUGS[bug]) is not None
