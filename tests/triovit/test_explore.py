"""``triovit explore``."""

import json
import re
from pathlib import Path

import pytest

from boards import board
from hw.config import AcceleratorConfig
from quant.networks.spec import spec
from sim.explore import Setting, Space, explore

ROOT = Path(__file__).parents[2]
SMALL = ("explore", "--model", "digits", "--m", "4", "--l", "4,8", "--weight-rows", "512", "--divisor-rows", "64")
SMALL = (*SMALL, "--z-rows", "64", "--first-dsp", "0,50", "--backend", "sequential")


def test_the_table(triovit):
    result = triovit(*SMALL)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split() == ["point", "cycles", "FPS", "GOPS", "utilization", "DSP", "BRAM36", "LUT", "bound"]
    names = [line.split()[0] for line in lines[1 : lines.index("")]]
    assert names == ["zcu102", "m4-l8-w512-p256-z64-d64-b16-r100-f0-s0", "m4-l4-w512-p256-z64-d64-b16-r100-f0-s0"]
    assert lines[lines.index("") + 1 :] == [
        "network  digits at 32x32, one picture at a time",
        "board    zcu102 (xczu9eg-ffvb1156-2-e) at 200 MHz",
        "points   5: 5 fit, 0 are too large; shown: the best",
    ]
    assert result.err.splitlines()[-1].startswith("explore: step 2/2, done in ")


def test_the_document(triovit, tmp_path):
    result = triovit(*SMALL, "-o", tmp_path / "found", "--json")
    assert result.code == 0, result.err
    document = result.document
    assert list(document) == [
        *("schema", "network", "resolution", "board", "clock_mhz", "latency", "lut_share", "batch", "space", "pareto", "points"),
        "refused",
    ]
    assert list(document["points"][0]) == [
        *("name", "configuration", "multipliers", "macs", "cycles", "pictures", "fps", "gops", "utilization"),
        *("resources", "shares"),
        *("bounds", "bound", "over", "fits"),
    ]
    assert document["space"]["first_dsp"] == [0, 50]
    assert json.loads((tmp_path / "found" / "explore.json").read_text()) == document
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["explore.html", "explore.json"]
    for point in document["points"]:
        assert AcceleratorConfig(**point["configuration"]).name == point["name"]


def test_what_is_refused_and_what_is_too_large(triovit):
    result = triovit(*SMALL, "--l", "4,6", "--lut-share", "7", "-o", "found", "--json")
    assert [refused["reason"] for refused in result.document["refused"]] == [
        "configuration m4-l6-w512-p256-z64-d64-b16-r100: l is 6, and must be a power of two"
    ]
    assert {point["name"]: point["over"] for point in result.document["points"]} == {
        "zcu102": ["lut"],
        "m4-l4-w512-p256-z64-d64-b16-r100-f0-s0": [],
        "m4-l4-w512-p256-z64-d64-b16-r100-f2-s0": [],
    }


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_options_reach_the_points(triovit):
    sizes = ("--burst", "8", "--buffers", "200", "--second-dsp", "100", "--param-rows", "32")
    options = ("--clock", "100", "--latency", "20", *sizes)
    plain, other = triovit(*SMALL, "--json").document, triovit(*SMALL, *options, "--json").document
    names = [point["name"] for point in other["points"]]
    assert names[1] == "m4-l4-w512-p32-z64-d64-b8-r200-f0-s4"
    one, two = plain["points"][1]["configuration"], other["points"][1]["configuration"]
    assert two["d_rows"] == 2 * one["d_rows"]
    assert (two["axi_burst"], two["param_rows"], two["second_dsp_slots"]) == (8, 32, 4)
    assert (other["clock_mhz"], other["latency"]) == (100, 20)
    assert other["points"][1]["fps"] == pytest.approx(100e6 / other["points"][1]["cycles"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "b9"), "network 'b9' is unknown; choose one of digits, b0, b1, b2, b3, b0-seg, b1-seg, b2-seg, b3-seg"),
        (("--model", "gone.pt"), "gone.pt: no such checkpoint; give a .pt, .pth or .safetensors file, or one of digits"),
        (("--model", "b1", "--board", "vcu128"), "board 'vcu128' is unknown; choose one of zcu102, zcu104, kv260"),
        (("--model", "b1", "--res", "100"), "network b1: resolution 100x100 is no multiple of 32; choose one that is"),
        (
            ("--model", "b1", "--backend", "cloud"),
            "backend 'cloud' is unknown; choose one of loky, threading, sequential, multiprocessing, dask, ray",
        ),
        (
            ("--model", "b1", "--l", "8-32"),
            "Invalid value for '--l': 8-32 is no list of numbers; give some like 8,16,32; see 'triovit explore --help'",
        ),
        (
            ("--model", "b1", "--buffers", "200,50"),
            "Invalid value for '--buffers': 50 is too small; give 100 or more; see 'triovit explore --help'",
        ),
        ((), "Missing option '--model'; see 'triovit explore --help'"),
    ],
)
def test_errors(triovit, words, message):
    result = triovit("explore", *words)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\n")


def test_nothing_fits(triovit):
    result = triovit(*SMALL, "--lut-share", "1", "--l", "4", "--first-dsp", "0", "--json")
    message = (
        "board zcu102: none of 2 points for digits fits; the nearest, m4-l4-w512-p256-z64-d64-b16-r100-f0-s0, takes "
        "9,376 lut of 2,740.8; choose a larger board, a smaller network or a smaller resolution"
    )
    assert result.code == 2
    assert result.document == {"error": {"kind": "user", "message": message}, "exit_code": 2}


def test_a_place_that_is_none_is_told_before_the_work(triovit, tmp_path):
    (tmp_path / "file").write_text("")
    result = triovit(*SMALL, "-o", tmp_path / "file")
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {tmp_path / 'file'}: exists and is not a directory; choose another name\n"


def test_pictures_of_a_run(triovit):
    """The fully connected layers' weights are read once for both."""
    alone, both = (triovit(*SMALL, "--batch", batch, "--l", 4, "--json").document for batch in (1, 2))
    assert (alone["batch"], both["batch"]) == (1, 2)
    named = {point["name"]: point for point in alone["points"]}
    for point in both["points"]:
        one = named[point["name"]]
        assert (one["pictures"], point["pictures"], point["macs"]) == (1, 2, 2 * one["macs"])
        assert one["cycles"] < point["cycles"] < 2 * one["cycles"]
        assert point["fps"] == pytest.approx(2 * 200e6 / point["cycles"])
        assert sum(point["bounds"].values()) == point["cycles"]
    assert "2 pictures a run" in triovit(*SMALL, "--batch", 2, "--l", 4).out


def test_the_documents_table_is_current():
    """The part of the default space that docs/exploration.md's table comes from: the rest is beaten or refused."""
    space = Space(m=(8,), l=(8, 16), z_rows=(64,))
    found = explore(spec("b1"), Setting(board("zcu102")), space, backend="sequential")
    rows = [
        (point.name, f"{point.cycles:,}", f"{point.fps:.1f}", f"{point.resources['dsp']:,}", f"{point.resources['bram36']:g}")
        for point in map(found.named, found.pareto)
    ]
    page, _, _ = (ROOT / "docs" / "exploration.md").read_text().partition("\n## Points in simulation\n")
    documented = [tuple(re.split(r" *\| *", line)[1:6]) for line in page.splitlines() if line.startswith(("| m8-", "| zcu102 "))]
    assert documented == rows
