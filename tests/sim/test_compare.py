"""First divergences, counts and traces that cannot be compared."""

import dataclasses

import numpy as np
import pytest

from sim.compare import Comparison, Divergence, compare
from sim.golden.trace import Trace
from triovit.errors import InternalError


def trace(**changes):
    tensors = {
        "a": np.zeros((1, 2, 2, 2), np.int8),
        "b.z": np.zeros((1, 1, 2, 2), np.int16),
        "b.ksum": np.zeros((1, 1, 2), np.int16),
        "b.code": np.zeros((1, 1, 4), np.uint16),
        "b": np.zeros((1, 2), np.int8),
        "c": np.zeros((1, 3), np.int16),
    }
    tensors.update({name.replace("_", "."): value for name, value in changes.items()})
    return Trace(("a", "b", "c"), tensors, "c")


def with_values(shape, values, dtype=np.int8):
    tensor = np.zeros(shape, dtype)
    for index, value in values.items():
        tensor[index] = value
    return tensor


def test_equal_traces():
    found = compare(trace(), trace())
    assert found == Comparison(layers=3, tensors=6, elements=23, mismatches=0, wrong_layers=(), first=None)
    assert found.equal
    assert str(found) == "3 layers, 6 tensors, 23 values compared: all equal"


def test_the_first_divergence_is_first_in_layer_order():
    got = trace(c=with_values((1, 3), {(0, 0): 9}), a=with_values((1, 2, 2, 2), {(0, 1, 0, 1): -3, (0, 1, 1, 1): 4}))
    found = compare(trace(), dataclasses.replace(got, layers=("c", "a")), cycle_of=lambda tensor, index: 100 + index[1])
    assert found.first == Divergence("a", "a", (0, 1, 0, 1), expected=0, got=-3, cycle=101)
    assert (found.mismatches, found.wrong_layers, found.equal) == (3, ("a", "c"), False)
    assert str(found) == (
        "layer a: a[0, 1, 0, 1] is -3 at cycle 101, and must be 0 "
        "(3 layers, 6 tensors, 23 values compared: 3 values in 2 layers differ)"
    )


def test_a_sub_tensor_comes_before_its_layers_output():
    got = trace(b_code=with_values((1, 1, 4), {(0, 0, 2): 200}, np.uint16), b=with_values((1, 2), {(0, 0): 1}))
    found = compare(trace(), got)
    assert str(found.first) == "layer b: b.code[0, 0, 2] is 200, and must be 0"
    assert found.wrong_layers == ("b",)


def test_values_count_and_types_do_not():
    wide = Trace(("a", "b", "c"), {name: tensor.astype(np.int64) for name, tensor in trace().tensors.items()}, "c")
    assert compare(trace(), wide).equal
    minus_one, byte = trace(c=np.full((1, 3), -1, np.int8)), trace(c=np.full((1, 3), 255, np.uint8))
    assert compare(minus_one, byte).mismatches == 3


def test_an_unknown_cycle_is_left_out():
    found = compare(trace(), trace(c=np.ones((1, 3), np.int16)), cycle_of=lambda tensor, index: None)
    assert str(found.first) == "layer c: c[0, 0] is 1, and must be 0"


def test_comparing_some_tensors_only():
    got = Trace(("c",), {"c": np.zeros((1, 3), np.int16)}, "c")
    found = compare(trace(), got, only={"c"})
    assert (found.layers, found.tensors, found.equal) == (1, 1, True)


def test_comparing_nothing_is_not_equality():
    assert not compare(trace(), trace(), only=()).equal
    empty = Trace(("a",), {}, "a")
    assert not compare(empty, empty).equal


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": np.zeros((2, 2), np.int8)}, r"^tensor a has shape \[2, 2\], and must have \[1, 2, 2, 2\]$"),
        ({"c": np.zeros((1, 3), np.float32)}, r"^tensor c is float32, and must be integers$"),
    ],
)
def test_traces_that_cannot_be_compared(changes, message):
    with pytest.raises(InternalError, match=message):
        compare(trace(), trace(**changes))


def test_a_missing_tensor_is_never_passed_over():
    with pytest.raises(InternalError, match=r"^the trace under test has no tensor a$"):
        compare(trace(), Trace(("a",), {}, "a"))
    with pytest.raises(InternalError, match=r"^the expected trace has no tensor d$"):
        compare(trace(), trace(), only=["a", "d"])
