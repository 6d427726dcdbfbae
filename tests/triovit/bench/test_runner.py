"""Measurements in processes of their own, kept with what they depend on: on the built-in network in place of the checkpoints."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quant.artifact import Artifact
from quant.data import digits
from triovit.bench import plan, runner, store
from triovit.bench.__main__ import main
from triovit.bench.command import Case, measure
from triovit.bench.runner import Runner
from triovit.bench.summary import SECTIONS, cases, summarise
from triovit.errors import UserError

ROOT = Path(__file__).parents[3]
SETTINGS = plan.complete({"activations": "minmax", "weights": "minmax", "attention_pictures": 2})
SIZE = (32, 32)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the built-in network's weights and some digits, laid out like the real one."""
    place = tmp_path_factory.mktemp("shared")
    (place / "models").mkdir()
    shutil.copy(ROOT / "quant" / "networks" / "weights" / "digits.safetensors", place / "models" / "digits.safetensors")
    split = digits()
    _write(place / "calib", split.train[:8])
    for label in range(10):
        _write(place / "val" / str(label), split.held_out[split.held_out_labels == label][:2])
    return place


def _write(folder: Path, pictures: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture.transpose(1, 2, 0)).save(folder / f"{index}.png")


def _quantize(taking: Runner, count: int = 8) -> dict[str, Any]:
    return taking.quantize("models/digits.safetensors", "calib", count, SIZE, SETTINGS)


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """The project's sources stay as they are while the tests run, whoever edits them."""
    read = store._sources
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_sources", lambda root, names: "frozen" if root == ROOT else read(root, names))
        yield


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, shared: Path, frozen: None) -> Path:
    """A directory in which the network has been quantized, scored and timed."""
    place = tmp_path_factory.mktemp("bench")
    taking = Runner(place, shared, measuring=True)
    quantized = _quantize(taking)
    assert taking.evaluate(quantized, "val", None)["images"] == 20
    assert taking.speed(quantized, "calib", 4)["images"] == 4
    assert not taking.missing
    return place


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts a process fails."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(runner.subprocess, "run", fail)


@pytest.mark.usefixtures("no_process")
def test_what_was_measured_is_kept(directory: Path, shared: Path) -> None:
    taking = Runner(directory, shared, measuring=True)
    quantized = _quantize(taking)
    assert quantized["pictures"] == 8
    assert min(quantized["seconds"], quantized["cpu_seconds"]) > 0
    assert quantized["peak_bytes"] > 10_000_000
    artifact = Artifact.load(quantized["artifact"])
    assert artifact.quantization == SETTINGS
    scores = taking.evaluate(quantized, "val", None)
    assert scores["metric"] == "top1"
    assert min(scores["float_score"], scores["int_score"], scores["agreement"]) > 0.8
    times = taking.speed(quantized, "calib", 4)
    assert min(times["golden_images_per_second"], times["float_images_per_second"]) > 0


def test_reconstruction_leaves_no_blocks_and_a_resumed_one_has_no_times(tmp_path: Path, shared: Path) -> None:
    settings = {**SETTINGS, "reconstruction": True, "iterations": 2}
    words = ("models/digits.safetensors", "calib", 8, SIZE, settings)
    whole = Runner(tmp_path / "whole", shared, measuring=True).quantize(*words)
    assert whole["seconds"] > 0
    assert not list((tmp_path / "whole" / "unfinished").iterdir())
    place = tmp_path / "resumed" / "unfinished" / Path(whole["artifact"]).name
    place.mkdir(parents=True)
    resumed = Runner(tmp_path / "resumed", shared, measuring=True).quantize(*words)
    assert (resumed["seconds"], resumed["cpu_seconds"]) == (None, None)
    assert resumed["sha256"] == whole["sha256"]


@pytest.mark.usefixtures("no_process")
def test_what_something_else_depends_on_is_missing(directory: Path, shared: Path) -> None:
    looking = Runner(directory, shared, measuring=False)
    other = _quantize(looking, count=7)
    assert other == {"missing": "not measured"}
    assert looking.evaluate(other, "val", None) == other
    assert looking.speed(other, "calib", 4) == other
    assert len(looking.missing) == 1
    assert looking.evaluate(_quantize(looking), "calib", None) == {"missing": "not measured"}
    assert looking.family("b1", (224, 224), "calib") == {"missing": "not measured"}
    assert len(looking.missing) == 3


@pytest.mark.usefixtures("no_process")
def test_an_artifact_that_is_gone_is_made_again(directory: Path, shared: Path, tmp_path: Path) -> None:
    shutil.copytree(directory, tmp_path / "bench")
    looking = Runner(tmp_path / "bench", shared, measuring=False)
    shutil.rmtree(_quantize(looking)["artifact"])
    assert _quantize(looking) == {"missing": "not measured"}


def test_what_the_quantizer_refuses_is_an_outcome(directory: Path, shared: Path) -> None:
    taking = Runner(directory, shared, measuring=True)
    refused = taking.quantize("models/digits.safetensors", "nowhere", 8, SIZE, SETTINGS)
    assert refused["error"] == f"{shared / 'nowhere'}: no such folder of pictures; correct the path"
    assert taking.evaluate(refused, "val", None) == refused
    assert (
        Runner(directory, shared, measuring=False).quantize("models/digits.safetensors", "nowhere", 8, SIZE, SETTINGS) == refused
    )


def test_a_process_that_dies_leaves_nothing(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.sys, "executable", "false")
    taking = Runner(tmp_path, shared, measuring=True)
    assert _quantize(taking) == {"missing": "quantize ended with exit code 1"}
    assert len(taking.missing) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_error_where_nothing_may_be_refused_is_a_failure(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(words: list[str], **_: object) -> Any:
        Path(words[-1]).write_text('{"error": "verilator: is missing"}')
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(runner.subprocess, "run", write)
    taking = Runner(tmp_path, shared, measuring=True)
    assert taking._job("family", {"a": 1}, {}, refusable=False) == {"missing": "verilator: is missing"}
    assert len(taking.missing) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_sources_that_change_meanwhile(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter(["quantize-1", "quantize-1", "quantize-2"])
    monkeypatch.setattr(runner, "key", lambda kind, depends: next(keys))

    def write(words: list[str], **_: object) -> Any:
        Path(words[-1]).write_text("{}")
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(runner.subprocess, "run", write)
    with pytest.raises(UserError) as said:
        _quantize(Runner(tmp_path, shared, measuring=True))
    assert str(said.value) == f"{ROOT}: its sources changed while they were measured; run the bench again"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_keys_follow_the_sources_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROOT", tmp_path)
    for name in ("quant/ptq/options.py", "quant/onnx/model.py", "sim/golden/model.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x = 1\n")

    def keys() -> dict[str, str]:
        return {kind: store.key(kind, {"a": (1, 2)}) for kind in ("quantize", "evaluate", "speed", "family", "peer")}

    before = keys()
    (tmp_path / "sim" / "golden" / "notes.txt").write_text("nothing\n")
    (tmp_path / "quant" / "onnx" / "model.py").write_text("x = 2\n")
    assert keys() == before
    (tmp_path / "quant" / "ptq" / "options.py").write_text("x = 2\n")
    assert {kind for kind, found in keys().items() if found != before[kind]} == {"quantize", "family"}
    before = keys()
    # Verilog is a source, too, where a package has some.
    (tmp_path / "sim" / "golden" / "more.sv").write_text("")
    assert {kind for kind, found in keys().items() if found != before[kind]} == {"evaluate", "speed", "family"}
    assert store.key("peer", {"a": (1, 3)}) != before["peer"]


def test_every_source_of_a_key_is_there() -> None:
    for names in store._SOURCES.values():
        for name in (*names, *store._UNUSED):
            assert (ROOT / name).exists(), name


def test_results_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    kept = store.Store(tmp_path)
    assert kept.get("a") is None
    kept.put("a", {"b": 1}, {"c": 2})
    assert kept.get("a") == {"c": 2}
    for text in ("", "[]", '{"result'):
        (tmp_path / "a.json").write_text(text)
        assert kept.get("a") is None


def test_fingerprints(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    (tmp_path / "folder").mkdir()
    empty = store.fingerprint(tmp_path / "folder")
    (tmp_path / "folder" / "x").write_text("1")
    found = {store.fingerprint(tmp_path / name) for name in ("one", "two", "none")}
    assert len(found) == 3
    assert "absent" in found
    # What a run has seen is not looked at twice.
    assert store.fingerprint(tmp_path / "folder") == empty


def test_peers_that_are_not_installed(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PEERS", tmp_path / "nowhere")
    looking = Runner(tmp_path, shared, measuring=True)
    assert looking.peer("nncf", "digits", SIZE, ()) == {"missing": "`make peers` has not been run"}
    (tmp_path / "peers.log").write_text("one\nERROR: no such package\n\n")
    assert looking.peer("nncf", "digits", SIZE, ()) == {"missing": "ERROR: no such package"}


def test_the_ablation_ends_with_the_defaults() -> None:
    rows = plan.ablation()
    titles = [title for _, title, _ in rows]
    assert titles[:8] == [
        "plain W8A8",
        "migration",
        "shifting",
        "log2 divisors",
        "migration + shifting",
        "migration + log2 divisors",
        "shifting + log2 divisors",
        "migration + shifting + log2 divisors",
    ]
    assert all(title.startswith("+ ") for title in titles[8:])
    assert len({json.dumps(plan.complete(settings)) for _, _, settings in rows}) == len(rows)
    plain = plan.complete(rows[0][2])
    assert not any(value is True for value in plain.values())
    assert (plain["code_bits"], plain["z_bits"]) == (4, 8)
    assert plan.complete(rows[-1][2]) == plan.complete({})


def test_cases_have_names_of_their_own_and_sections_of_the_summary() -> None:
    every = cases()
    assert len({case.name for case in every}) == len(every)
    summary = summarise([(case, {"missing": "x"}) for case in every])
    assert [name for name in summary if name in SECTIONS] == list(SECTIONS)
    assert sum(len(summary[section]) for section in SECTIONS) == len(every)
    assert summary["cores"] >= 1


def _case(name: str, take: Callable[[Runner], dict[str, Any]]) -> Case:
    return Case("accuracy", {"network": name}, take)


def test_only_what_is_missing_is_measured_and_failures_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def take(name: str, outcome: dict[str, Any]) -> Callable[[Runner], dict[str, Any]]:
        def taken(taking: Runner) -> dict[str, Any]:
            if name != "kept":
                taking.missing.add(name)
            return outcome if taking.measuring else {"missing": "not measured"}

        return taken

    wanted = [_case("kept", take("kept", {})), _case("bad", take("bad", {"missing": "died"})), _case("good", take("good", {}))]
    failed = measure(wanted, Runner(tmp_path, tmp_path, measuring=True))
    assert failed == {"accuracy/bad": {"missing": "died"}}
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "bench 1/2: accuracy/bad"
    assert lines[1].startswith("bench 2/2: accuracy/good, about 0 min left")


def test_cases_that_wait_for_the_same_artifact_are_all_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = []

    def take(name: str) -> Callable[[Runner], dict[str, Any]]:
        def one(taking: Runner) -> dict[str, Any]:
            taking.missing.add("the artifact")
            if taking.measuring:
                taken.append(name)
            return {}

        return one

    measure([_case(name, take(name)) for name in ("scores", "speed")], Runner(tmp_path, tmp_path, measuring=True))
    assert taken == ["scores", "speed"]
    assert "bench 2/2: accuracy/speed" in capsys.readouterr().err


def test_the_page_shows_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--only", "speed/*", "--skip", "*"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: --only and --skip: select no row; --list prints the names\n"
    with pytest.raises(SystemExit) as left:
        main(["--only", "family/*", "--list"])
    assert left.value.code == 0
    assert capsys.readouterr().out == "family/b1/224x224\nfamily/b2/224x224\nfamily/b3/224x224\n"


def test_measurements_that_fail_end_with_exit_code_1_and_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner.sys, "executable", "false")
    page = tmp_path / "results.md"
    words = ["--only", "family/b1/*", "--directory", str(tmp_path / "bench"), "--shared", str(tmp_path), "-o", str(page)]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 1
    out, err = capsys.readouterr()
    rows = len(cases())
    assert out == f"{page}: {rows} rows, {rows} of them not measured\n"
    assert err.splitlines()[-1] == "failed: family/b1/224x224"
    assert "| b1 | 224x224 | not measured: family ended with exit code 1 |" in page.read_text()
    assert len(json.loads((tmp_path / "bench" / "summary.json").read_text())["family"]) == 3
