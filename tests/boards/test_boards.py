"""The boards' table."""

import re
from pathlib import Path

import pytest

from boards import BOARDS, board
from triovit.errors import UserError

ROOT = Path(__file__).parents[2]


def test_a_board_by_its_name():
    assert {name: board(name).name for name in BOARDS} == {name: name for name in ("zcu102", "zcu104", "kv260")}


def test_an_unknown_board():
    with pytest.raises(UserError, match=r"^board 'zcu999' is unknown; choose one of zcu102, zcu104, kv260$"):
        board("zcu999")


def test_the_papers_board_is_that_of_the_resources_page():
    row = next(line for line in (ROOT / "docs" / "resources.md").read_text().splitlines() if "the device has" in line)
    dsps, brams, memory_luts, luts = (int(number) for number in re.findall(r"\b\d+\b", row))
    found = board("zcu102")
    assert (found.dsps, found.bram36, found.memory_luts, found.luts) == (dsps, brams, memory_luts, luts)


@pytest.mark.parametrize("found", BOARDS.values(), ids=lambda found: found.name)
def test_a_slice_has_two_flip_flops_a_lookup_table(found):
    assert found.flip_flops == 2 * found.luts
    assert found.memory_luts < found.luts
