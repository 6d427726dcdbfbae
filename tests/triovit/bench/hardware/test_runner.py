"""What the accelerator's measurements depend on, and what they do without."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quant.artifact import Artifact
from triovit import pictures
from triovit.bench import runner, store
from triovit.bench.hardware import jobs
from triovit.bench.hardware.plan import NETWORKS, Network
from triovit.bench.hardware.runner import HardwareRunner
from triovit.bench.hardware.summary import cases
from triovit.errors import InternalError, UserError
from triovit.progress import silent

BY_NAME: dict[str, Network] = {network.name: network for network in NETWORKS}


def test_keys_follow_the_sources_that_a_measurement_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROOT", tmp_path)

    def changed(name: str) -> set[str]:
        kinds = ("build", "rtl", "model", "design", "netlist", "digits", "random")
        before = {kind: store.key(kind, {}) for kind in kinds}
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        return {kind for kind in kinds if store.key(kind, {}) != before[kind]}

    assert changed("hw/top.py") == {"build", "rtl", "model", "design", "netlist"}
    # Counting DSPs otherwise, or predicting better, leaves what took hours.
    assert changed("hw/resources/estimate.py") == {"design", "netlist"}
    assert changed("sim/cycles/model.py") == {"model"}
    assert changed("sim/bench/verilog/dram.sv") == {"build", "rtl"}
    assert changed("sim/golden/model.py") == {"rtl"}
    assert changed("quant/quantize.py") == {"digits", "random"}
    assert changed("sim/report/page.py") == set()


def _answers(monkeypatch: pytest.MonkeyPatch, **results: dict[str, Any]) -> list[str]:
    """Jobs give these results by kind; returns the kinds that are asked for."""
    asked: list[str] = []

    def taken(self: HardwareRunner, kind: str, *_: object, **__: object) -> dict[str, Any]:
        asked.append(kind)
        return results[kind]

    monkeypatch.setattr(HardwareRunner, "_job", taken)
    return asked


def _taken(name: str, taking: HardwareRunner) -> dict[str, Any]:
    return next(case for case in cases() if case.name == name).take(taking)


def test_what_the_compiler_refuses_is_neither_quantized_nor_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taking = HardwareRunner(tmp_path, tmp_path, measuring=True)
    asked = _answers(monkeypatch, model={"error": "layer x: too large", "peak_bytes": 1})
    assert _taken("rtl/digits/single", taking) == {"error": "layer x: too large"}
    assert asked == ["model"]


def test_a_batch_that_the_compiler_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taking = HardwareRunner(tmp_path, tmp_path, measuring=True)
    refused = {"cycles_single": 1, "cycles_steady": None, "steady_error": "layer y: no room"}
    asked = _answers(monkeypatch, model=refused, digits={"missing": "not measured"})
    assert _taken("rtl/digits/steady", taking) == {"error": "layer y: no room"}
    assert asked == ["model"]
    assert _taken("rtl/digits/single", taking) == {"missing": "not measured"}
    assert asked == ["model", "model", "digits"]


def test_a_simulator_that_cannot_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taking = HardwareRunner(tmp_path, tmp_path, measuring=True)
    asked = _answers(monkeypatch, model={"cycles_single": 1}, digits={"pictures": 64}, build={"missing": "no compiler"})
    monkeypatch.setattr("triovit.bench.hardware.runner.fingerprint", lambda path: "f")
    assert _taken("rtl/digits/single", taking) == {"missing": "no compiler"}
    assert asked == ["model", "digits", "build"]


def test_the_family_s_artifact_is_made_again_where_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b1 = BY_NAME["b1-224"]
    for folder in (b1.calibration, b1.pictures):
        (tmp_path / folder).mkdir(parents=True)
    taking = HardwareRunner(tmp_path / "bench", tmp_path, measuring=True)

    def write(words: list[str], **_: object) -> Any:
        Path(words[-1]).write_text('{"sqnr": 20.0}')
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(runner.subprocess, "run", write)
    made = taking.artifact(b1)
    assert made["sqnr"] == 20.0
    place = Path(made["artifact"])
    assert place.parent == tmp_path / "bench" / "artifacts"
    looking = taking.looking()
    assert looking.artifact(b1) == {"missing": "not measured"}
    # The quantizer's row of the same network needs no artifact.
    assert looking.family("b1", (224, 224), b1.calibration) == {"sqnr": 20.0}
    place.mkdir(parents=True)
    (place / "manifest.json").write_text("{}")
    assert looking.artifact(b1)["artifact"] == str(place)


def test_the_network_of_a_row_is_the_one_that_runs() -> None:
    """The trained B0 has ten classes; the ideal cycles are those of its products."""
    b0 = BY_NAME["b0-224"]
    found = jobs.model(silent, b0.spec, b0.resolution, b0.classes, None, b0.config, 2, 60)
    whole = jobs.model(silent, b0.spec, b0.resolution, None, None, b0.config, 2, 60)
    assert whole["macs"] - found["macs"] == 1280 * 990
    assert found["ideal"] == found["macs"] / 2048
    assert found["ideal"] < found["backbone"] < found["cycles_single"]
    assert found["cycles_steady"] < found["cycles_single"]
    assert "steady_error" not in found


def test_a_narrow_z(tmp_path: Path) -> None:
    """It takes fewer cycles, and the network that runs has it."""
    narrow, wide, own = (jobs.model(silent, "digits", (32, 32), None, z_bits, "toy", 1, 60) for z_bits in (8, 15, None))
    assert narrow["cycles_single"] < wide["cycles_single"] == own["cycles_single"]
    assert narrow["macs"] == wide["macs"]
    place = tmp_path / "artifact"
    jobs.random(silent, "digits", (32, 32), pictures.DIGITS, {"z_bits": 8}, str(place))
    found = [layer.attrs["z_bits"] for layer in Artifact.load(place).layers if layer.kind == "attention"]
    assert found and set(found) == {8}


def test_a_narrow_z_is_for_random_weights() -> None:
    with pytest.raises(InternalError, match=r"^network b0-224: a width of Z is for random weights, and these are models/"):
        replace(BY_NAME["b0-224"], z_bits=8)


def test_a_network_with_a_narrow_z_is_quantized_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b2 = BY_NAME["b2-224-z8"]
    for folder in (b2.calibration, b2.pictures):
        (tmp_path / folder).mkdir(parents=True)
    asked = []

    def write(words: list[str], **_: object) -> Any:
        asked.append((words[3], json.loads(words[4])["settings"]))
        place = Path(json.loads(words[4])["artifact"])
        place.mkdir(parents=True)
        (place / "manifest.json").write_text("{}")
        Path(words[-1]).write_text('{"pictures": 16}')
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(runner.subprocess, "run", write)
    made = HardwareRunner(tmp_path / "bench", tmp_path, measuring=True).artifact(b2)
    assert Path(made["artifact"]).parent == tmp_path / "bench" / "artifacts"
    assert asked == [("random", {"z_bits": 8})]


def test_a_batch_that_is_too_large_leaves_the_single_picture() -> None:
    found = jobs.model(silent, "digits", (32, 32), None, None, "toy", 88, 60)
    assert found["cycles_steady"] is None
    assert found["steady_error"].startswith("a batch of 88 pictures cannot be mapped, a smaller one may: layer head.fc2: ")
    assert found["cycles_single"] > 0
    with pytest.raises(UserError, match=r"^layer stem\.0: "):
        jobs.model(silent, "b0", (224, 224), None, None, "toy", 1, 60)


def test_the_count_of_the_design() -> None:
    found = jobs.design(silent, "zcu102")
    assert (found["multipliers"], found["array_dsp"]) == (2048, 1024)
    for name in ("dsp", "bram36", "memory_lut", "multiplier_lut"):
        assert sum(part[name] for part in found["parts"].values()) == found[name]


def test_a_job_s_user_error_is_its_result(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    assert jobs.main(["design", '{"config": "huge"}', str(file)]) == 0
    assert file.read_text().startswith('{\n  "error": "configuration \'huge\' is unknown; choose one of toy, zcu102"')
