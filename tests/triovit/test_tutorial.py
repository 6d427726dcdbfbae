"""The commands of docs/tutorial.md work as they stand there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
    for line in block.splitlines()
]


def test_the_tour_has_every_step():
    steps = ["doctor", "inspect", "inspect", "quantize", "evaluate", "generate", "simulate", "report"]
    assert [command.split()[1] for command in COMMANDS] == steps


def test_the_tour(triovit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        program, *words = command.split()
        assert program == "triovit"
        result = triovit(*words)
        if result.code:
            pytest.fail(f"{command}\nleft with {result.code}: {result.err}")
    assert (tmp_path / "build" / "tour" / "report.html").stat().st_size > 0
