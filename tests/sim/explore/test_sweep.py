"""Sweeps."""

import json
from dataclasses import replace

import pytest

from boards import board
from hw.config import CONFIGURATIONS, TOY, AcceleratorConfig
from quant.networks.spec import spec
from sim.explore import Setting, Space, explore
from sim.explore.pareto import dominates
from sim.explore.point import objectives
from triovit.errors import UserError
from triovit.output import plain

DIGITS = spec("digits")
SETTING = Setting(board("zcu102"))
SPACE = Space(m=(4, 8), l=(4, 8, 16), weight_rows=(512,), z_rows=(64,), first_dsp=(0, 50))


@pytest.fixture(scope="module")
def found():
    return explore(DIGITS, SETTING, SPACE, jobs=1)


@pytest.mark.parametrize(("jobs", "backend"), [(2, "loky"), (3, "threading"), (1, "sequential")])
def test_the_same_whoever_does_the_work(found, jobs, backend):
    assert explore(DIGITS, SETTING, SPACE, jobs=jobs, backend=backend) == found


def test_every_size_is_a_row(found):
    assert len(found.points) == 1 + 2 * (5 * 2)
    assert len(found.refused) == 2
    assert len({point.name for point in found.points}) == len(found.points)
    assert found.points[0].name == "zcu102"
    for refused in found.refused:
        assert (refused.sizes["m"], refused.sizes["l"]) == (8, 4)
        assert refused.reason == f"configuration {refused.name}: l is 4, and must be a multiple of m = 8"


def test_what_requantizers_are_made_of_costs_no_cycle(found):
    first, second = found.points[1:3]
    assert first.cycles == second.cycles
    assert first.resources["dsp"] < second.resources["dsp"]
    assert first.resources["lut"] > second.resources["lut"]


def test_the_front_is_one(found):
    best = [found.named(name) for name in found.pareto]
    assert best
    assert [point.fps for point in best] == sorted((point.fps for point in best), reverse=True)
    for point in best:
        assert point.fits
        assert not [other.name for other in found.points if other.fits and dominates(objectives(other), objectives(point))]


def test_only_what_fits_is_in_the_front(found):
    fastest = found.named(found.pareto[0])
    small = replace(SETTING, board=replace(SETTING.board, dsps=int(fastest.resources["dsp"]) - 1))
    again = explore(DIGITS, small, SPACE, jobs=1)
    assert fastest.name not in again.pareto
    assert again.named(fastest.name).over == ("dsp",)


def test_the_document(found):
    document = json.loads(json.dumps(plain(found.to_dict()), allow_nan=False))
    assert document["schema"] == "triovit-explore"
    assert document["board"]["part"] == "xczu9eg-ffvb1156-2-e"
    assert document["pareto"] == list(found.pareto)
    for row, point in zip(document["points"], found.points, strict=True):
        assert AcceleratorConfig(**row["configuration"]).to_dict() == point.configuration
        assert sum(row["bounds"].values()) == row["cycles"]


def test_progress():
    heard, space = [], replace(SPACE, m=(4,), l=(4, 8), divisor_rows=(64,))
    explore(DIGITS, SETTING, space, jobs=1, progress=lambda *step: heard.append(step))
    assert heard == [("explore", 0, 2), ("explore", 1, 2), ("explore", 2, 2)]


def test_a_preset_that_is_refused_is_a_row(monkeypatch):
    monkeypatch.setitem(CONFIGURATIONS, "zcu102", TOY.with_(name="zcu102", d_rows=16))
    found = explore(DIGITS, SETTING, replace(SPACE, m=(4,), l=(4,), divisor_rows=(64,)), jobs=1)
    assert found.refused[0].name == "zcu102"
    assert found.refused[0].sizes["l"] == 4
    assert found.refused[0].reason == (
        "layer S2.1.MLA.qkv: its output of 24 channels x 16 pixels does not fit buffer D of configuration zcu102 (16 rows); "
        "use a larger configuration or a smaller resolution"
    )


def test_a_network_that_nothing_runs():
    with pytest.raises(UserError) as error:
        explore(spec("b0-seg").at((64, 64)), SETTING, replace(SPACE, m=(8,), l=(8,)), jobs=1)
    assert str(error.value) == (
        "network b0-seg: no point of the space runs it; the first one: layer head.up4: enlarges a map, which no engine does; "
        "evaluate segmentation networks with the golden model"
    )


def test_a_board_that_holds_nothing():
    tiny = replace(SETTING, board=replace(board("kv260"), name="tiny", bram36=30, dsps=60))
    with pytest.raises(UserError) as error:
        explore(DIGITS, tiny, replace(SPACE, m=(4,), l=(4, 8)), jobs=1)
    assert str(error.value) == (
        "board tiny: none of 8 points for digits fits; the nearest, m4-l4-w512-p256-z64-d64-b16-r100-f0-s0, takes "
        "81 dsp of 60, 50 bram36 of 30; choose a larger board, a smaller network or a smaller resolution"
    )
