"""The report's pages about a quantization."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from sim.report import (
    Bounds,
    DivisorRow,
    EffectRow,
    ErrorRow,
    QuantizationData,
    RangeRow,
    ReportData,
    read_quantization,
    write_report,
)
from sim.report.quantization_charts import divisor_bars, error_chart
from triovit.errors import InternalError, UserError

FILE = {
    "schema": "triovit-errors",
    "artifact": "made",
    "network": "digits",
    "metric": "top1",
    "images": 32,
    "float_score": 0.9375,
    "integer": {"sqnr": 21.25, "agreement": 0.96875, "score": 0.90625, "score_change": -0.03125},
    "quantizers": [
        {"layer": "stem.0", "kind": "conv", "part": "weight", "accumulated": None, "alone": 44.5},
        {"layer": "stem.0", "kind": "conv", "part": "output", "accumulated": 38.5, "alone": 40},
        {"layer": "S3.1.MLA.att", "kind": "attention", "part": "z", "accumulated": None, "alone": 30.0},
        {"layer": "S3.1.MLA.att", "kind": "attention", "part": "output", "accumulated": -2.5, "alone": None},
    ],
    "effects": [
        {
            "layer": "stem.0",
            "part": "output",
            "effect": {"sqnr": 27.75, "agreement": 0.875, "score": 0.875, "score_change": -0.0625},
        }
    ],
    "divisors": [{"layer": "S3.1.MLA.att", "code_bits": 4, "codes": [3, 0, 9, *[0] * 13], "lowest": 6, "exponents": [3, 0, 9]}],
    "ranges": [{"layer": "S1.0.MB.dw", "before": {"min": [-1, -2.5], "max": [4, 5]}, "after": {"min": [-1, -1], "max": [1, 1]}}],
}
DATA = QuantizationData(
    network="digits",
    images=32,
    metric="top1",
    float_score=0.9375,
    int_score=0.90625,
    sqnr=21.25,
    agreement=0.96875,
    errors=(ErrorRow("stem.0", "conv", 38.5, 40.0, 44.5), ErrorRow("S3.1.MLA.att", "attention", -2.5, None, None)),
    effects=(EffectRow("stem.0", "output", 27.75, 0.875, -0.0625),),
    divisors=(DivisorRow("S3.1.MLA.att", 4, (3.0, 0.0, 9.0, *[0.0] * 13), 6, (3.0, 0.0, 9.0)),),
    ranges=(RangeRow("S1.0.MB.dw", Bounds((-1.0, -2.5), (4.0, 5.0)), Bounds((-1.0, -1.0), (1.0, 1.0))),),
)


def read(tmp_path, value):
    (tmp_path / "errors.json").write_text(json.dumps(value))
    return read_quantization(tmp_path / "errors.json")


def words(text):
    return " ".join(re.sub(r"<[^>]*>", " ", text.partition("</style>")[2]).split())


def test_reading(tmp_path):
    assert read(tmp_path, FILE) == DATA
    plain = read(tmp_path, {**FILE, "metric": None, "float_score": None, "effects": None, "divisors": [], "ranges": []})
    assert (plain.metric, plain.float_score, plain.effects, plain.divisors) == (None, None, (), ())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["network"], 3, "field network must be text"),
        (["integer", "agreement"], 2, ".integer: field agreement is 2, and must lie in 0..1"),
        (["quantizers", 1, "alone"], "no", "quantizers[1]: field alone must be a number"),
        (["effects", 0, "effect"], None, "effects[0]: field effect must be an object"),
        (["divisors", 0, "code_bits"], 5, "divisors[0]: field code_bits is 5, and must be 4 or 10"),
        (["divisors", 0, "codes"], [1, 2], "divisors[0]: field codes has 2 entries, and must have 16"),
        (["divisors", 0, "exponents"], [-1], "divisors[0]: field exponents must not be negative"),
        (
            ["ranges", 0, "after", "max"],
            [1],
            "ranges[0].after: field max has 1 channels, and min has 2; every channel needs both",
        ),
    ],
)
def test_broken_fields(tmp_path, path, value, message):
    copy = json.loads(json.dumps(FILE))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "errors.json"
    wanted = f"{file}{message}" if message.startswith(".") else f"{file}: {message}"
    with pytest.raises(UserError) as caught:
        read(tmp_path, copy)
    assert str(caught.value) == f"{wanted}; run triovit errors again"


def test_a_file_that_is_absent(tmp_path):
    with pytest.raises(UserError) as caught:
        read_quantization(tmp_path / "errors.json")
    assert str(caught.value) == f"{tmp_path / 'errors.json'}: no such file; run triovit errors again"


def test_the_page_of_a_quantization(tmp_path):
    text = write_report(tmp_path, None, DATA).read_text()
    shown = words(text)
    for part in (
        "digits",
        "32",
        "21.2",
        "96.88%",
        "93.75%",
        "90.62%",
        "38.5",
        "44.5",
        "27.8",
        "-6.25%",
        "S1.0.MB.dw: 2 channels",
    ):
        assert part in shown
    for title in ("Signal to quantization noise", "codes in use, 4 bits", "whole binary logarithms of the divisors", "before"):
        assert title in shown
    assert "stem.0, tensor alone: 40.0 dB" in shown
    assert "bit-exact" not in shown
    assert "No layer was measured." not in shown
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) == 1 + 3 + 2 + 2
    for drawing in drawings:
        ElementTree.fromstring(drawing)
    assert not re.search(r"<script|<link|<img|src=|href=|url\(", text)


def test_a_simulation_and_a_quantization_share_a_page(tmp_path):
    run = ReportData("digits", "toy", 1, True, None, None, ranges=DATA.ranges)
    text = write_report(tmp_path, run, DATA).read_text()
    shown = words(text)
    assert "digits on toy" in shown
    assert "bit-exact" in shown
    assert "21.2" in shown
    assert shown.count("S1.0.MB.dw: 2 channels") == 1


def test_a_page_about_nothing(tmp_path):
    with pytest.raises(InternalError, match=r"^a report needs a simulation or a quantization$"):
        write_report(tmp_path, None)


def test_dots_lie_in_proportion():
    chart = error_chart(DATA.errors)
    accumulated, alone, weights = chart.series
    assert [len(one.dots) for one in chart.series] == [2, 1, 1]
    heights = {one.dots[0].text.split(": ")[1]: one.dots[0].y for one in (accumulated, alone, weights)}
    assert heights["44.5 dB"] < heights["40.0 dB"] < heights["38.5 dB"] < accumulated.dots[1].y
    ratio = (heights["38.5 dB"] - heights["44.5 dB"]) / (accumulated.dots[1].y - heights["38.5 dB"])
    assert ratio == pytest.approx(6 / 41, rel=0.02)
    assert accumulated.path.startswith("M")
    assert accumulated.path.count("L") == 1


def test_bars_are_as_high_as_the_counts():
    codes, exponents = divisor_bars(DATA.divisors[0])
    strokes = [(float(low), float(high)) for low, high in re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", codes.path)]
    assert len(strokes) == 2
    assert (strokes[0][0] - strokes[0][1]) / (strokes[1][0] - strokes[1][1]) == pytest.approx(3 / 9, rel=0.01)
    assert [tick.text for tick in codes.below] == ["0", "4", "8", "12"]
    assert [tick.text for tick in exponents.below] == ["6", "7", "8"]
    fine, _ = divisor_bars(DivisorRow("a", 10, tuple(map(float, range(1024))), 3, (1.0,)))
    assert fine.path.count("M") == 1023
    assert [tick.text for tick in fine.below] == ["0", "256", "512", "768"]
