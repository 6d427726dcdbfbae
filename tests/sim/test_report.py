"""The report's file and its page."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from sim.report import Bounds, Event, LayerRow, RangeRow, ReportData, Wait, read_report, write_report, write_timeline
from sim.report.charts import nice_ticks, range_panels, timeline
from triovit.errors import UserError
from triovit.files import write_json

FILE = {
    "network": "digits",
    "config": "toy",
    "images": 10,
    "bit_exact": True,
    "float_accuracy": 0.98,
    "int_accuracy": 0.975,
    "layers": [
        {"name": "stem.0", "kind": "conv", "engine": "MAT", "macs": 5000, "cycles": 110, "predicted": 100, "utilization": 0.5},
        {"name": "head.pool", "kind": "pool", "engine": "R-MAC", "macs": 0, "cycles": 40, "predicted": None, "utilization": None},
    ],
    "timeline": [
        {"engine": "MAT", "layer": "stem.0", "start": 0, "end": 110},
        {"engine": "R-MAC", "layer": "head.pool", "start": 100, "end": 150},
        {"engine": "R-MAC", "layer": "head.pool", "start": 140, "end": 200},
    ],
    "waits": [{"unit": "MAT", "awaited": "weights", "cycles": 30}, {"unit": "LOAD", "awaited": "memory", "cycles": 0}],
    "ranges": [{"layer": "S1.0.MB.dw", "before": {"min": [-1, -2.5], "max": [4, 5]}, "after": {"min": [-1, -1], "max": [1, 1]}}],
    "later": "ignored",
}
DATA = ReportData(
    network="digits", config="toy", images=10, bit_exact=True, float_accuracy=0.98, int_accuracy=0.975,
    layers=(LayerRow("stem.0", "conv", "MAT", 5000, 110, 100, 0.5), LayerRow("head.pool", "pool", "R-MAC", 0, 40, None, None)),
    timeline=(Event("MAT", "stem.0", 0, 110), Event("R-MAC", "head.pool", 100, 150), Event("R-MAC", "head.pool", 140, 200)),
    waits=(Wait("MAT", "weights", 30), Wait("LOAD", "memory", 0)),
    ranges=(RangeRow("S1.0.MB.dw", Bounds((-1.0, -2.5), (4.0, 5.0)), Bounds((-1.0, -1.0), (1.0, 1.0))),),
)


def changed(path, value):
    """FILE with the field at ``path`` set, or removed where ``value`` is ``...``."""
    copy = json.loads(json.dumps(FILE))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


def read(tmp_path, value):
    file = tmp_path / "report.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return read_report(file)


def test_reading_a_report(tmp_path):
    assert read(tmp_path, FILE) == DATA


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "report.json", dataclasses.asdict(DATA))
    assert read_report(tmp_path / "report.json") == DATA


def test_accuracies_may_be_unknown(tmp_path):
    nothing: dict[str, list] = {"layers": [], "timeline": [], "waits": [], "ranges": []}
    data = read(tmp_path, {**FILE, "float_accuracy": None, "int_accuracy": None, **nothing})
    assert (data.float_accuracy, data.int_accuracy, data.cycles) == (None, None, 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["network"], ..., "field network is missing"),
        (["images"], "ten", "field images must be a whole number"),
        (["images"], True, "field images must be a whole number"),
        (["images"], -1, "field images is -1, and must not be negative"),
        (["bit_exact"], 1, "field bit_exact must be true or false"),
        (["int_accuracy"], 98.5, "field int_accuracy is 98.5, and must lie in 0..1"),
        (["int_accuracy"], float("nan"), "field int_accuracy must be a number"),
        (["float_accuracy"], 10**400, "field float_accuracy must be a number"),
        (["layers"], {}, "field layers must be a list"),
        (["layers", 1], 7, "layers[1] is not an object"),
        (["layers", 0, "cycles"], 1.5, "layers[0]: field cycles must be a whole number"),
        (["layers", 0, "predicted"], -2, "layers[0]: field predicted is -2, and must not be negative"),
        (["layers", 0, "utilization"], ..., "layers[0]: field utilization is missing"),
        (["timeline", 0, "end"], -5, "timeline[0]: field end is -5, and must not be negative"),
        (["timeline", 1, "end"], 99, "timeline[1]: field end is 99, before the start 100"),
        (["waits", 0, "awaited"], ..., "waits[0]: field awaited is missing"),
        (["waits", 1, "cycles"], -1, "waits[1]: field cycles is -1, and must not be negative"),
        (["ranges", 0, "before"], [], "ranges[0]: field before must be an object"),
        (["ranges", 0, "before", "min"], [1, "2"], "ranges[0].before: field min must be a list of numbers"),
        (["ranges", 0, "after", "max"], [1],
         "ranges[0].after: field max has 1 channels, and min has 2; every channel needs both"),
        (["ranges", 0, "after"], {"min": [1], "max": [2]}, "ranges[0]: field after has 1 channels, and before has 2"),
    ],
)
def test_broken_fields(tmp_path, path, value, message):
    text = f"{tmp_path / 'report.json'}: {message}; simulate the network again"
    with pytest.raises(UserError, match=f"^{re.escape(text)}$"):
        read(tmp_path, changed(path, value))


def test_files_that_are_no_report(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json: no such file; simulate the network again$"):
        read_report(tmp_path / "absent.json")
    with pytest.raises(UserError, match=r"report\.json: is no readable JSON \(.*\); simulate the network again$"):
        read(tmp_path, json.dumps(FILE)[:-9])
    with pytest.raises(UserError, match=r"report\.json is not an object; simulate the network again$"):
        read(tmp_path, "[]")
    with pytest.raises(UserError, match=r": cannot be read \(.*\); check the permissions$"):
        read_report(tmp_path)


class Page(HTMLParser):
    """Collects the page's text, and demands that every element is closed and that nothing is fetched."""

    VOID = frozenset({"meta", "line", "rect", "path"})

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.elements = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def text(tmp_path):
    return write_report(tmp_path, DATA).read_text()


def test_the_page_shows_the_results(text):
    words = " ".join(" ".join(Page(text).words).split())
    cards = ["digits on toy", "bit-exact", "98.00%", "97.50%", "200"]
    table = ["stem.0", "5,000", "+10.0%", "50%"]
    drawings = ["stem.0 on MAT: cycles 0 to 110 (110)", "55% busy", "50% busy", "S1.0.MB.dw: 2 channels"]
    waits = ["Unit Waited for Cycles Share MAT weights 30 15.00% LOAD memory 0 0.00%"]
    for shown in cards + table + drawings + waits:
        assert shown in words


def test_the_page_fetches_nothing(text):
    page = Page(text)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "base"}
    assert not [attrs for _, attrs in page.elements if {"src", "href", "xlink:href"} & set(attrs)]
    assert "url(" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text


def test_every_drawing_is_well_formed(text):
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) == 1 + 2 + 2
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_the_same_data_give_the_same_bytes(tmp_path):
    first, second = write_report(tmp_path / "a", DATA), write_report(tmp_path / "b", DATA)
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["report.html"]


def test_a_difference_is_shown_and_names_are_escaped(tmp_path):
    bad = ReportData("<b>&", "toy", 1, False, None, None, timeline=(Event('"E"<', "l&", 0, 3),))
    text = write_report(tmp_path, bad).read_text()
    page = Page(text)
    assert "<b>&" in " ".join(page.words)
    assert "differ" in page.words
    assert "No layer was measured." in page.words
    assert 'class="bar other"' in text


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/report\.html: cannot be written "):
        write_report(tmp_path / "file", DATA)


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 100, 10, range(0, 101, 10)),
        (0, 7, 4, [0, 2, 4, 6]),
        (-2.5, 5, 4, [-2, 0, 2, 4]),
        (3, 3, 4, [3]),
        (0, 99610, 10, range(0, 99611, 10000)),
    ],
)
def test_ticks_are_round_numbers(low, high, count, ticks):
    assert nice_ticks(low, high, count) == pytest.approx(list(ticks))


def test_bars_lie_in_their_lane_in_proportion():
    chart = timeline(DATA)
    assert [lane.engine for lane in chart.lanes] == ["MAT", "R-MAC"]
    first, second, third = chart.bars
    assert first.x == chart.left
    assert third.x + third.width == pytest.approx(chart.right)
    assert first.width / (chart.right - chart.left) == pytest.approx(110 / 200)
    assert first.y < second.y == third.y < chart.height


def test_range_panels_share_a_scale():
    before, after = range_panels(DATA.ranges[0])
    assert before.ticks == after.ticks
    assert before.path.count("M") == after.path.count("V") == 2
    flat = range_panels(RangeRow("flat", Bounds((0.0,), (0.0,)), Bounds((0.0,), (0.0,))))
    assert flat[0].path == flat[1].path


def test_the_timeline_is_a_picture_of_its_own(tmp_path):
    path = write_timeline(tmp_path, DATA)
    assert path == tmp_path / "timeline.svg"
    drawing = ElementTree.parse(path).getroot()
    name = "{http://www.w3.org/2000/svg}"
    titles = [title.text for title in drawing.iter(f"{name}title")]
    assert titles[0] == "stem.0 on MAT: cycles 0 to 110 (110)" and len(titles) == 3
    legend = [text.text for text in drawing.iter(f"{name}text")][-2:]
    assert legend == ["conv", "pool"]
    assert path.read_bytes() == write_timeline(tmp_path, DATA).read_bytes()
