"""Plots and the page."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from boards import board
from quant.networks.spec import spec
from sim.explore import Exploration, Setting, Space, explore, write_page
from sim.explore.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plot, staircase
from sim.explore.point import Point
from triovit.errors import UserError


@pytest.fixture(scope="module")
def found() -> Exploration:
    space = Space(m=(4, 8), l=(4, 8), weight_rows=(512,), z_rows=(64,), divisor_rows=(64,), first_dsp=(0, 50))
    zcu102 = board("zcu102")
    return explore(spec("digits"), Setting(replace(zcu102, dsps=300)), space, jobs=1)


def made(cost: int, fps: float) -> Point:
    return Point("made", {}, 1, 1, 1, 1, fps, 1, 1, {"dsp": cost}, {}, {}, "", (), True)


def test_the_best_at_every_cost():
    points = [made(3, 5), made(1, 2), made(3, 9), made(2, 2), made(5, 8), made(7, 10)]
    assert staircase(points, "dsp") == [(1, 2), (3, 9), (7, 10)]


@pytest.mark.parametrize("resource", ["dsp", "bram36"])
def test_every_point_has_its_mark_in_the_plot(found, resource):
    drawn = plot(found, resource)
    assert len(drawn.marks) == len(found.points)
    assert sum(mark.kind == "pareto" for mark in drawn.marks) == len(found.pareto)
    assert sum(mark.kind == "over" for mark in drawn.marks) == sum(not point.fits for point in found.points) > 0
    for mark in drawn.marks:
        assert LEFT <= mark.x <= WIDTH - RIGHT
        assert TOP <= mark.y <= HEIGHT - BOTTOM


def test_what_costs_more_is_further_right_and_what_is_faster_higher(found):
    marks = {mark.text.split(":")[0]: mark for mark in plot(found, "dsp").marks}
    low, high = sorted(found.points, key=lambda point: point.fps)[:: len(found.points) - 1]
    assert marks[low.name].y > marks[high.name].y
    few, many = sorted(found.points, key=lambda point: point.resources["dsp"])[:: len(found.points) - 1]
    assert marks[few.name].x < marks[many.name].x


def test_the_boards_end_lies_between_what_fits_and_what_does_not(found):
    drawn = plot(found, "dsp")
    assert drawn.limit is not None
    assert max(mark.x for mark in drawn.marks if mark.kind != "over") <= drawn.limit
    assert max(mark.x for mark in drawn.marks if mark.kind == "over") > drawn.limit
    assert plot(replace(found, setting=Setting(board("zcu102"))), "dsp").limit is None


def test_the_page(found, tmp_path):
    page = write_page(tmp_path, found)
    text = page.read_text()
    assert page == tmp_path / "explore.html"
    assert "<h1>digits at 32x32 on zcu102</h1>" in text
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    circles = [len(ElementTree.fromstring(drawing).findall(".//circle")) for drawing in drawings]
    assert circles == [len(found.points)] * 2 + [1] * 3
    for point in found.points:
        assert f"<td>{point.name}</td>" in text
    assert "l is 4, and must be a multiple of m = 8" in text
    assert not re.search(r"<(script|link|img|iframe)|http:|https:|url\(| src=| href=", text)
    assert write_page(tmp_path / "again", found).read_bytes() == page.read_bytes()


def test_names_are_escaped(found, tmp_path):
    text = write_page(tmp_path, replace(found, network="<b>&")).read_text()
    assert "<h1>&lt;b&gt;&amp; at 32x32 on zcu102</h1>" in text


def test_a_directory_that_cannot_be_written(found, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/explore\.html: cannot be written "):
        write_page(tmp_path / "file", found)
