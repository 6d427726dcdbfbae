"""Functions that share a lookup table."""

from functools import cache
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.resources.packing import functions, pairs
from hw.resources.synthesis import Cell

FUNCTIONS = st.lists(st.frozensets(st.sampled_from("abcdefghij"), max_size=5), max_size=9)


def _best(every: list[frozenset[str]]) -> int:
    """Most pairs that are possible, by trying all."""

    @cache
    def most(left: frozenset[str]) -> int:
        if len(left) < 2:
            return 0
        first, *others = sorted(left)
        rest = left - {first}
        found = most(rest)
        for other in others:
            if len(every[first] | every[other]) <= 5:
                found = max(found, 1 + most(rest - {other}))
        return found

    return most(frozenset(range(len(every))))


@given(FUNCTIONS)
def test_pairs_are_legal_and_few_are_missed(every: list[frozenset[str]]) -> None:
    found = pairs(every)
    indices = [index for pair in found for index in pair]
    assert len(indices) == len(set(indices))
    assert all(len(every[one] | every[other]) <= 5 for one, other in found)
    # No pair of those left could be made, so that there are at least half of the most.
    left = [inputs for index, inputs in enumerate(every) if index not in indices]
    assert not any(len(one | other) <= 5 for one, other in combinations(left, 2))
    assert _best(every) / 2 <= len(found) <= _best(every)


@pytest.mark.parametrize(
    ("every", "count"),
    [
        (["abcde", "abcde"], 1),
        (["abcde", "abcdf"], 0),
        (["abcd", "abce"], 1),
        (["abcd", "e"], 1),
        (["abcd", "ef"], 0),
        (["abc", "de"], 1),
        (["abc", "def"], 0),
        (["abc", "cde"], 1),
        # The large one takes the larger of two that fit.
        (["ab", "abc", "abcde", "fgh"], 2),
    ],
)
def test_pairs(every: list[str], count: int) -> None:
    assert len(pairs([frozenset(inputs) for inputs in every])) == count


def test_functions_of_a_netlist() -> None:
    def lut(out: str, *inputs: str) -> Cell:
        return Cell(f"LUT{len(inputs)}", {"O": out, **{f"I{n}": wire for n, wire in enumerate(inputs)}})

    assert functions([
        lut("constant", "a", "$false", "b"),
        lut("same", "c", "c"),
        lut("large", "a", "b", "c", "d", "e", "f"),
        Cell("INV", {"I": "$auto$g", "O": "not"}),
        lut("sum", "h", "i"),
        Cell("CARRY4", {"S[0]": "sum", "DI[0]": "constant", "CI": "$false", "O[0]": "o"}),
        Cell("FDRE", {"D": "constant", "Q": "q"}),
    ]) == [frozenset("ab"), frozenset("c"), frozenset({"$auto$g"})]
