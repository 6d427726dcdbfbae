"""Results in JSON's types."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from triovit.output import percent, plain


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
