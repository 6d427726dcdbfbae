"""Figures beside what they are to be."""

import pytest

from tests.triovit.bench.hardware.rows import BUILT, DESIGN, FOUND, model, run, summary
from triovit.bench.hardware.goals import Goal, goals
from triovit.bench.runner import Result

_REFUSED = "error: layer stem.0: is too large; use a smaller one"
_B1 = "EfficientViT-B1, random weights, 224x224: whole network in RTL"
_STEADY = "B1-R224, cycles a picture, steady state"
_SINGLE = "B1-R224, cycles of a single picture"
_GOPS = "GOPS a DSP at 200 MHz, B1-R224, steady state"
_SIMULATED = "one picture of B1-R224 simulated, seconds"
_MADE = "Verilog and simulator of zcu102 made, seconds"


def _found(given: Result) -> dict[str, Goal]:
    return {goal.figure: goal for goal in goals(given)}


def test_every_figure() -> None:
    exact, model_ = "bit-exact", "at most 1.05 x ideal"
    b0, seg = "EfficientViT-B0, Imagenette, 224x224", "EfficientViT-Seg-B0, CamVid, backbone, 512x384"
    share = "share of the xczu9eg's"
    assert goals(summary()) == [
        Goal(_B1, exact, "72 layers, all equal", "", "", "met"),
        Goal(f"{b0}: whole network in RTL", exact, "not measured", "", "", "open"),
        Goal(f"{seg}: whole network in RTL", exact, _REFUSED, "", "", "missed"),
        Goal(_STEADY, "at most 267,000", "266,500", "266,000", "250,343 (backbone alone)", "met"),
        Goal(_SINGLE, "at most 330,000", "321,600", "320,000", "", "met"),
        Goal("B1-R256, cycles by the model, steady state", model_, "", _REFUSED, "324,139 (backbone alone)", "missed"),
        Goal("B1-R288, cycles by the model, steady state", model_, "", _REFUSED, "420,593 (backbone alone)", "missed"),
        Goal("B2-R224, cycles by the model, steady state", model_, "", _REFUSED, "762,009 (backbone alone)", "missed"),
        Goal(
            "B2-R224, Z of 8 bits, cycles by the model, steady state", model_, "", _REFUSED, "762,009 (backbone alone)", "missed"
        ),
        Goal("multipliers a DSP of the arrays", "at least 2", "", "2.00", "2", "met"),
        Goal("DSPs of the arrays", "at most 1,024", "", "1,024", "about 1,024", "met"),
        Goal("DSPs of all", "at most 1,120", "", "1,100", "", "met"),
        Goal(_GOPS, "at least 0.69", "0.708", "0.710", "about 0.76, of their first design", "met"),
        Goal(f"{share} DSPs", "at most 85%", "", "43.7%", "not published", "met"),
        Goal(f"{share} block RAMs", "at most 85%", "", "76.8%", "not published", "met"),
        Goal(f"{share} LUTs", "at most 85%", "", "43.8%, 54.7% with one for each function", "not published", "met"),
        Goal(f"{share} flip-flops", "at most 85%", "", "45.6%", "not published", "met"),
        Goal(_SIMULATED, "at most 120", "61", "", "", "met"),
        Goal(_MADE, "at most 600", "500", "", "", "met"),
    ]


@pytest.mark.parametrize(
    ("changes", "figure", "measured", "state"),
    [
        ({"rtl__b1_224__steady": run(16 * 267_001, 16, 1.0)}, _STEADY, "267,001", "missed"),
        ({"rtl__b1_224__steady": run(16 * 267_000, 16, 1.0)}, _STEADY, "267,000", "met"),
        ({"rtl__b1_224__steady": run(16 * 280_000, 16, 1.0)}, _GOPS, "0.674", "missed"),
        ({"rtl__b1_224__single": run(330_001, 1, 120.6)}, _SINGLE, "330,001", "missed"),
        ({"rtl__b1_224__single": run(330_001, 1, 120.6)}, _SIMULATED, "121", "missed"),
        ({"rtl__b1_224__steady": {"missing": "killed"}}, _STEADY, "not measured: killed", "open"),
        ({"rtl__b1_224__steady": {"missing": "killed"}}, _GOPS, "not measured: killed", "open"),
        ({"rtl__b1_224__steady": {"missing": "killed"}}, _B1, "72 layers, all equal; steady: not measured: killed", "met"),
        ({"rtl__b1_224__single": run(1, 1, 1.0, bit_exact=False, first_difference="layer x")}, _B1, "layer x", "missed"),
        ({"rtl__b1_224__single": run(1, 1, 1.0, build={**BUILT, "build_seconds": None})}, _MADE, "found in the cache", "open"),
        ({"rtl__b1_224__single": run(1, 1, 1.0, build={**BUILT, "build_seconds": 401.0})}, _MADE, "601", "missed"),
    ],
)
def test_what_decides_a_goal(changes: dict[str, Result], figure: str, measured: str, state: str) -> None:
    goal = _found(summary(**changes))[figure]
    assert (goal.measured, goal.state) == (measured, state)


@pytest.mark.parametrize(("steady", "words", "state"), [
    (1.05 * 324_000, "340,200, 1.050 x ideal", "met"), (1.06 * 324_000, "343,440, 1.060 x ideal", "missed"),
])  # fmt: skip
def test_a_network_that_is_predicted(steady: float, words: str, state: str) -> None:
    found = _found(summary(model__b1_256=model(400_000, steady, 324_000 * 2048)))
    goal = found["B1-R256, cycles by the model, steady state"]
    assert (goal.predicted, goal.state) == (words, state)


@pytest.mark.parametrize(("netlist", "words", "state"), [
    ({"lut": 250_000, "ff": 400_000}, ("91.2%", "73.0%"), ("missed", "met")),
    ({"lut": 200_000, "ff": 500_000}, ("73.0%", "91.2%"), ("met", "missed")),
    ({"missing": "not measured"}, ("not measured", "not measured"), ("open", "open")),
])  # fmt: skip
def test_lookup_tables_and_flip_flops_are_those_of_the_netlist(
    netlist: Result, words: tuple[str, str], state: tuple[str, str]
) -> None:
    found = _found(summary(netlist__zcu102=netlist))
    shares = found["share of the xczu9eg's LUTs"], found["share of the xczu9eg's flip-flops"]
    assert tuple(share.predicted for share in shares) == words
    assert tuple(share.state for share in shares) == state


def test_a_design_that_was_not_counted() -> None:
    goal = _found(summary(design__zcu102={"missing": "not measured"}))["resources of zcu102"]
    assert (goal.measured, goal.state) == ("not measured", "open")
    assert FOUND["design/zcu102"] is DESIGN
