"""Each bench writes its own part of the page."""

from pathlib import Path

import pytest

from triovit.bench import page
from triovit.errors import UserError

WHOLE = """\
<!-- accelerator: written by `make bench` -->

# Fast

1 cycle

<!-- end of accelerator -->

<!-- quantizer: written by `make bench-quant` -->

# Exact

<!-- end of quantizer -->
"""


def test_parts_have_an_order_whoever_comes_first(tmp_path: Path) -> None:
    for first, second in (("accelerator", "quantizer"), ("quantizer", "accelerator")):
        place = tmp_path / f"{first}.md"
        for part in (first, second):
            page.write(place, part, {"accelerator": "# Fast\n\n1 cycle\n", "quantizer": "\n# Exact\n"}[part])
        assert place.read_text() == WHOLE


def test_a_part_is_replaced_and_the_other_stays(tmp_path: Path) -> None:
    place = tmp_path / "page.md"
    place.write_text(WHOLE)
    page.write(place, "accelerator", "# Slow\n")
    assert place.read_text() == WHOLE.replace("# Fast\n\n1 cycle", "# Slow")
    assert page.part(place, "quantizer") == "# Exact"
    assert page.part(tmp_path / "none.md", "quantizer") == ""


@pytest.mark.parametrize("text", ["", "# A page of somebody's own\n", WHOLE.replace("end of", "")])
def test_another_file_is_not_replaced(text: str, tmp_path: Path) -> None:
    place = tmp_path / "page.md"
    place.write_text(text)
    said = f"{place}: holds no part of a bench, so it is not replaced; choose another file"
    for refuse in (lambda: page.check(place), lambda: page.write(place, "quantizer", "# Exact")):
        with pytest.raises(UserError) as raised:
            refuse()
        assert str(raised.value) == said
    assert place.read_text() == text


def test_the_project_s_page_has_both_parts() -> None:
    place = Path(__file__).parents[3] / "docs" / "results.md"
    for name in page.PARTS:
        assert page.part(place, name).startswith(f"# Results of the {name}\n")
