"""The multipliers of either engine alone: trees, single products, and how two lanes share a multiplier."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from amaranth import Const
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.engines.mac_block import FIELD_BITS, OWN_BITS, MacBlock
from quant.contract import ACC_BITS
from tests.hw.units.drive import stream_through
from tests.support.tamper import constant, tampered

#: Operands whose products reach the ends of their fields, and those between which the lower field borrows and does not.
EXTREMES = (-128, -127, -1, 0, 1, 127)
LATE = {"shared": MacBlock.shared_after}


def mac_vectors(
    lanes: int, inputs: int, operands: Iterator[tuple[Any, Any]], *, own: bool = True, seed: int = 1
) -> tuple[list[dict[str, Any]], list[list], list[list | None]]:
    """Beats of a block, some of which do not count, and what its accumulators then hold: sums of up to 25 beats.

    With ``own`` every sum is of either kind at random, and one of single products may come amid the beats of a tree's. What the
    trees leave in the own accumulators is of no meaning, None.
    """
    rng = np.random.default_rng(seed)
    sums: dict[bool, Any] = {False: np.zeros(lanes, np.int64), True: np.zeros((lanes, inputs), np.int64)}
    vectors, trees, owns = [], [], []
    left, kind, known = {False: 0, True: 0}, False, True
    for shared, private in operands:
        valid = bool(rng.random() < 0.8)
        if own and left[True] == 0:
            kind = bool(rng.random() < 0.5 if left[False] == 0 else rng.random() < 0.1)
        first = left[kind] == 0
        shared, private = np.broadcast_to(shared, inputs), np.broadcast_to(private, (lanes, inputs))
        vector = {"shared": shared.tolist(), "private": private.tolist(), "valid": valid, "first": first}
        vectors.append(vector | ({"own_beat": kind} if own else {}))
        if valid:
            products = shared * private
            sums[kind] = (products if kind else products.sum(axis=1)) + (0 if first else sums[kind])
            left[kind] = int(rng.integers(0, 25)) if first else left[kind] - 1
            known = kind
        # A sum stays until the next one comes.
        trees.append(sums[False].tolist())
        owns.append(sums[True].tolist() if known else None)
    return vectors, trees, owns


def random_operands(lanes: int, inputs: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """First weights and activations, then the other way round, as in DW mode."""
    rng = np.random.default_rng(2)
    for beat in range(300):
        low = (-128, -127) if beat % 2 else (-127, -128)
        yield rng.integers(low[0], 128, inputs), rng.integers(low[1], 128, (lanes, inputs))


def extreme_operands(lanes: int, inputs: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of extremes in both fields at once beside every shared one, all inputs alike; but no eight squares of -128."""
    for even in EXTREMES:
        for odd in EXTREMES:
            for shared in EXTREMES:
                private = np.tile([[even], [odd]], (lanes // 2, inputs))
                if shared == -128:
                    private[:, -1] = np.maximum(private[:, -1], -127)
                yield np.full(inputs, shared), private


def block_errors(
    size: int, operands: Callable[..., Iterator[tuple[Any, Any]]], own_block: type[MacBlock] = MacBlock
) -> list[str]:
    """Which outputs are wrong, of a block of either kind."""
    plain_vectors, plain_trees, _ = mac_vectors(size, size, operands(size, size), own=False)
    vectors, trees, owns = mac_vectors(size, size, operands(size, size))
    outputs = {
        "packed acc": (False, "acc", plain_vectors, plain_trees),
        "acc": (True, "acc", vectors, trees),
        "own_acc": (True, "own_acc", vectors, owns),
    }
    wrong = []
    for label, (own, name, beats, expected) in outputs.items():
        dut = own_block(size, size, own=True) if own else MacBlock(size, size)
        got = stream_through(dut, dut.own_latency if name == "own_acc" else dut.tree_latency, beats, [name], LATE)
        if any(sums is not None and out[name] != sums for out, sums in zip(got, expected, strict=True)):
            wrong.append(label)
    return wrong


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("operands", [random_operands, extreme_operands])
def test_mac_block_sums_trees_and_products(size: int, operands: Any):
    assert block_errors(size, operands) == []


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_packed_products_are_those_of_two_multipliers(draws: st.DataObject):
    """Any weights and activations, the ends of their ranges above all."""
    weights, activations = (
        st.one_of(st.sampled_from((low, low + 1, -1, 0, 1, 126, 127)), st.integers(low, 127)) for low in (-127, -128)
    )
    depthwise = draws.draw(st.booleans())
    shared, private = (weights, activations) if depthwise else (activations, weights)
    beats = draws.draw(
        st.lists(
            st.tuples(st.lists(shared, min_size=8, max_size=8), st.lists(private, min_size=16, max_size=16)),
            min_size=1,
            max_size=12,
        )
    )
    operands = [(np.array(one), np.tile(np.array(two).reshape(2, 8), (4, 1))) for one, two in beats]
    assert block_errors(8, lambda lanes, inputs: iter(operands)) == []


#: What is wrong with the packing, and the outputs that must show it.
PACKING_BUGS: dict[str, tuple[str, Any, list[str]]] = {
    "upper field without its borrow": ("borrow", lambda packed: Const(0), ["packed acc", "acc", "own_acc"]),
    "upper field always with a borrow": ("borrow", lambda packed: Const(1), ["packed acc", "acc", "own_acc"]),
    # A single product leaves bits of sign above it, and a tree of them is as wide as the field, so that its sums have their sign.
    "borrow taken a bit too low": ("borrow", lambda packed: packed[FIELD_BITS - 2], ["packed acc"]),
    "lower field without a sign": ("lower_field", lambda packed: packed[:FIELD_BITS], ["packed acc", "own_acc"]),
    "lower field cut short": ("lower_field", lambda packed: packed[: FIELD_BITS - 1].as_signed(), ["packed acc"]),
    "fields too close for eight products": ("FIELD_BITS", FIELD_BITS - 1, ["packed acc", "acc"]),
    "fields too close for a product": ("FIELD_BITS", 15, ["packed acc", "acc", "own_acc"]),
}


@pytest.mark.parametrize("bug", PACKING_BUGS)
def test_a_planted_packing_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    name, false, wrong = PACKING_BUGS[bug]
    monkeypatch.setattr(f"hw.engines.mac_block.{name}", false)
    assert block_errors(8, extreme_operands) == wrong


@pytest.mark.parametrize(("always", "wrong"), [(False, ["acc", "own_acc"]), (True, ["acc"])])
def test_a_block_that_does_not_know_its_mode_is_found(always: bool, wrong: list[str]):
    assert block_errors(4, random_operands, tampered(MacBlock, own_beat=constant(always))) == wrong


def test_eight_squares_of_the_least_number_are_what_does_not_fit():
    """What the docstring says that no task has: everything else fits."""
    dut, worst = MacBlock(2, 8), [-128] * 8
    beat = {"shared": worst, "private": [worst, [0] * 8], "valid": 1, "first": 1}
    assert stream_through(dut, dut.tree_latency, [beat], ["acc"], LATE) == [{"acc": [-(2**17), 1]}]


@pytest.mark.parametrize(("lanes", "inputs"), [(3, 4), (4, 16)])
def test_lanes_come_in_pairs_of_few_inputs(lanes: int, inputs: int):
    dut = MacBlock.__new__(MacBlock)
    dut._MustUse__silence = True
    with pytest.raises(ValueError, match="lanes come in pairs"):
        dut.__init__(lanes, inputs)


def test_accumulators_are_as_wide_as_they_must():
    assert 1 << (OWN_BITS - 2) <= 25 * 128 * 128 < 1 << (OWN_BITS - 1) and OWN_BITS < ACC_BITS
