"""The generated pages are those that the code would write now."""

from pathlib import Path

import pytest

from hw.reference import pages

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", pages())
def test_page_is_current(name):
    assert (DOCS / name).read_text() == pages()[name], f"docs/{name} is old: run python -m hw.reference"
