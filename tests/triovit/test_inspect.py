"""``triovit inspect``."""

import pytest


def test_b1_has_the_totals_of_the_reference(triovit):
    result = triovit("inspect", "b1", "--res", "224", "--json")
    assert result.code == 0
    assert result.document["totals"] == {"parameters": 9_102_024, "weights": 9_071_616, "macs": 519_214_592}


@pytest.mark.parametrize("name", ["digits", "b0", "b1", "b2", "b3", "b0-seg"])
def test_every_named_network_has_a_table(triovit, name):
    result = triovit("inspect", name)
    assert result.code == 0
    assert f"network     {name} at " in result.out


def test_table_names_operation_and_engine(triovit):
    lines = triovit("inspect", "digits").out.splitlines()
    assert lines[0].split() == [
        *("layer", "operation", "engine", "in", "out", "kernel", "stride", "groups", "activation", "weights", "MACs")
    ]
    assert lines[1].split() == ["stem.0", "Conv", "both", "3x32x32", "8x16x16", "3", "2", "1", "hswish", "216", "55,296"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("b9",), "network 'b9' is unknown; choose one of digits, b0, b1, b2, b3, b0-seg, b1-seg, b2-seg, b3-seg"),
        (("b1", "--res", "100"), "network b1: resolution 100x100 is no multiple of 32; choose one that is"),
        (("gone.pt",), "gone.pt: no such checkpoint; give a .pt, .pth or .safetensors file, or one of digits"),
    ],
)
def test_errors(triovit, words, message):
    result = triovit("inspect", *words)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\n")
