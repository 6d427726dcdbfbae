"""The runner of other quantizers; the tools themselves where `make peers` has installed them."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from triovit.bench.peers.__main__ import main
from triovit.bench.peers.measure import measure
from triovit.bench.peers.task import RESOLUTIONS, SHARED, Task, task
from triovit.bench.peers.tools import TOOLS
from triovit.errors import UserError
from triovit.progress import silent

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
FIELDS = (
    *("tool", "version", "torch", "network", "size", "metric", "float_score"),
    *("score", "agreement", "seconds_quantize", "setting", "error"),
)


@pytest.fixture(scope="module")
def digits() -> Task:
    return task("digits", RESOLUTIONS["digits"], SHARED, silent)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--tool x --network b0", "Invalid value for '--tool': 'x' is not one of 'nncf', 'brevitas', 'pt2e'."),
        ("--tool nncf --network b9", "Invalid value for '--network': 'b9' is not one of 'seg-b0', 'b0', 'digits'."),
        ("--tool nncf", "Missing option '--network'. Choose from: seg-b0, b0, digits"),
        (
            "--tool nncf --network b0 --size 3x",
            "Invalid value for '--size': 3x is no size; give width and height like 960x736",
        ),
        (
            "--tool brevitas --network b0 --setting fast",
            "--setting fast: brevitas has no such setting; choose one of equalized, layerwise",
        ),
    ],
)
def test_words_that_are_wrong_are_named_in_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as left:
        main(words.split())
    assert left.value.code == 2
    assert capsys.readouterr() == ("", f"error: {said}\n")


def test_a_tool_that_is_not_installed(capsys, tmp_path):
    if importlib.util.find_spec("nncf"):
        pytest.skip("nncf is installed in this environment")
    with pytest.raises(SystemExit) as left:
        main(["--tool", "nncf", "--network", "digits", "--json", str(tmp_path / "out.json")])
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: nncf: is not installed; run `make peers` and use .venv-peers/bin/python\n"
    assert not list(tmp_path.iterdir())


def test_pictures_and_checkpoints_that_are_not_there(tmp_path):
    with pytest.raises(UserError) as said:
        task("digits", (32, 64), SHARED, silent)
    assert str(said.value) == "digits: has pictures of 32x32 only; leave out --size"
    with pytest.raises(UserError) as said:
        task("seg-b0", RESOLUTIONS["seg-b0"], tmp_path, silent)
    assert str(said.value).startswith(f"{tmp_path}/models/efficientvit_seg_b0_cityscapes.pt: no such checkpoint; ")


def test_a_network_that_is_left_as_it_is_scores_like_the_float_one(digits):
    found = measure(digits, lambda network, inputs, setting: network, "", silent)
    assert found.metric == "top1"
    assert found.score == found.float_score > 0.9
    assert found.agreement == 1
    assert found.error is None


def test_a_network_that_always_says_one_class_agrees_where_the_float_one_says_it(digits):
    found = measure(digits, lambda network, inputs, setting: lambda given: torch.eye(10)[3:4], "", silent)
    assert found.score == (digits.labels == 3).mean()
    assert 0 < found.agreement < 0.2


def test_what_a_tool_raises_is_quoted(digits):
    def fail(network, inputs, setting):
        raise RuntimeError(f"{setting}: cannot trace {tuple(inputs[0].shape)}")

    found = measure(digits, fail, "plain", silent)
    assert found.error == "RuntimeError: plain: cannot trace (1, 3, 32, 32)"
    assert (found.score, found.agreement, found.seconds_quantize) == (None, None, None)
    assert found.float_score > 0.9


@pytest.mark.parametrize(
    "name", ["pt2e", pytest.param("brevitas", marks=pytest.mark.full), pytest.param("nncf", marks=pytest.mark.full)]
)
def test_each_tool_quantizes_the_digits(name, tmp_path):
    if not (ROOT / ".venv-peers" / "stamp").exists():
        pytest.skip("the other quantizers are not installed; `make peers` installs them")
    file = tmp_path / "out.json"
    words = [PYTHON, "-m", "triovit.bench.peers", "--tool", name, "--network", "digits", "--json", file]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert tuple(found) == FIELDS
    assert found["error"] is None
    assert (found["tool"], found["network"], found["size"], found["metric"]) == (name, "digits", "32x32", "top1")
    assert found["setting"].startswith(f"{next(iter(TOOLS[name].settings))}: ")
    assert min(found["float_score"], found["score"], found["agreement"]) > 0.9
    assert found["seconds_quantize"] > 0


def test_every_pin_has_its_reason_and_every_tool_is_pinned():
    lines = [line for line in (ROOT / "requirements" / "peers.txt").read_text().splitlines() if line and line[0] != "#"]
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+ +# \S.*", line), line
    pinned = {Requirement(line.partition("#")[0]).name for line in lines}
    assert {tool.package for tool in TOOLS.values()} <= pinned
