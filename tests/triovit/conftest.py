"""Runs the command line as a user would."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from triovit.cli import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def triovit(capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls ``triovit`` with words."""

    def run(*words: object) -> Result:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Result(int(left.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def artifact_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in network, quantized with a few pictures."""
    from quant.checkpoints import load
    from quant.data import digits
    from quant.ptq.options import Options
    from quant.quantize import quantize

    path = tmp_path_factory.mktemp("artifact") / "digits"
    quantize(load("digits"), digits().train[:8], Options(activations="minmax", weights="minmax", attention_pictures=4)).save(path)
    return path
