"""What the front page says of accuracy was measured."""

import re
from pathlib import Path

from triovit.bench import page

ROOT = Path(__file__).parents[3]


def test_numbers_of_the_front_page_are_those_of_the_page_of_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    said = text.split("by `make bench-quant`, integers", 1)[1].split("\n\n", 2)[1]
    results = page.part(ROOT / "docs" / "results.md", "quantizer").split("## Remedies", 1)[0]
    numbers = re.findall(r"\d+\.\d\d", said)
    assert len(numbers) >= 6
    for number in numbers:
        assert f" {number} " in results, number
