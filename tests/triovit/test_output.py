"""Results in JSON's types."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from triovit.output import percent, plain, prints_json


class Pair(NamedTuple):
    """A named tuple."""

    a: int
    b: Path


@dataclass
class Holder:
    """A dataclass."""

    array: object
    pair: Pair


def test_plain_types():
    value = Holder(np.arange(3, dtype=np.int8), Pair(1, Path("x")))
    assert plain(value) == {"array": [0, 1, 2], "pair": {"a": 1, "b": "x"}}
    assert plain({1: (np.float32(0.5), math.nan, math.inf)}) == {"1": [0.5, None, None]}


def test_percent():
    assert (percent(0.97512), percent(None)) == ("97.51%", "-")


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ("inspect digits", False),
        ("inspect digits --json", True),
        ("inspect --json --res 32 digits", True),
        ("inspect digits --json -", True),
        ("inspect digits --json=-", True),
        ("inspect digits --json found.json", False),
        ("inspect digits --json=found.json", False),
    ],
)
def test_where_json_goes(words, printed):
    assert prints_json(words.split()) is printed


def test_json_to_a_file_and_the_text(triovit, tmp_path):
    text = triovit("inspect", "digits").out
    result = triovit("inspect", "digits", "--json", tmp_path / "new" / "found.json")
    assert (result.code, result.out) == (0, text)
    assert (tmp_path / "new" / "found.json").read_text() == triovit("inspect", "digits", "--json").out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["found.json"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "{}: is a directory; give --json a file"),
        ("notes.txt/found.json", "{}/notes.txt: exists and is not a directory; choose another name"),
        ("notes.txt/a/found.json", "{0}/notes.txt/a: cannot be written ({0}/notes.txt is not a directory); choose another place"),
    ],
)
def test_json_file_that_cannot_appear_is_told_before_the_work(triovit, tmp_path, place, message):
    (tmp_path / "notes.txt").write_text("mine")
    result = triovit("inspect", "digits", "--json", tmp_path / place)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message.format(tmp_path)}\n")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_failure_leaves_the_json_file_alone(triovit, tmp_path):
    (tmp_path / "found.json").write_text("earlier")
    result = triovit("evaluate", tmp_path / "none", "--data", "digits", "--json", tmp_path / "found.json")
    assert (result.code, result.out) == (2, "")
    assert (tmp_path / "found.json").read_text() == "earlier"
