"""Rows of the accelerator's bench, and the summary that they make."""

from fnmatch import fnmatch

from tests.triovit.bench.hardware.rows import BUILT, REFUSED, STALLS, run, summary
from triovit.bench.hardware.plan import NETWORKS
from triovit.bench.hardware.summary import cases


def test_the_rows() -> None:
    every = cases()
    assert [case.name for case in every if not case.long] == [
        "design/zcu102",
        "model/digits",
        "model/b0-224",
        "model/b1-224",
        "model/b1-224-z8",
        "model/b1-256",
        "model/b1-288",
        "model/b2-224",
        "model/b2-224-z8",
        "model/seg-b0-512x384",
        "rtl/digits/single",
        "rtl/digits/steady",
        "rtl/b0-224/single",
        "rtl/b0-224/steady",
        "rtl/b1-224/single",
        "rtl/b1-224/steady",
        "rtl/seg-b0-512x384/single",
    ]
    assert {case.name.rsplit("/", 1)[0] for case in every if case.long} == {
        "netlist",
        "rtl/b1-288",
        "rtl/b2-224",
        "rtl/b2-224-z8",
    }
    assert sum(fnmatch(case.name, "model/*") for case in every) == len(NETWORKS)


def test_a_network_that_was_simulated() -> None:
    b1 = summary()["networks"]["b1-224"]
    assert (b1["bit_exact"], b1["layers_compared"], b1["values_compared"], b1["first_difference"]) == (True, 72, 17_000, None)
    assert (b1["cycles_steady"], b1["cycles_single"]) == (266_500, 321_600)
    assert (b1["cycles_predicted"], b1["cycles_predicted_single"], b1["cycles_predicted_backbone"]) == (266_000, 320_000, 270_000)
    assert (b1["utilization"], b1["utilization_single"]) == (253_522.75 / 266_500, 253_522.75 / 321_600)
    assert b1["utilization_predicted"] == 253_522.75 / 266_000
    assert (b1["stalls"], b1["stalls_single"], b1["sim_seconds"], b1["sim_seconds_steady"]) == (STALLS, STALLS, 61.4, 900.0)
    assert b1["build"] == {name: value for name, value in BUILT.items() if name != "peak_bytes"}
    assert (b1["macs"], b1["ideal_cycles"], b1["why"]) == (519_214_592, 253_522.75, {})
    assert b1["authors"] == {"cycles": 250_343, "gops": 781.9, "utilization": 0.954}


def test_a_network_without_numbers_says_why() -> None:
    b0 = summary()["networks"]["b0-224"]
    unmeasured = {"missing": "not measured"}
    assert b0["why"] == {"single": unmeasured, "steady": unmeasured, "model": REFUSED}
    numbers = ("bit_exact", "layers_compared", "cycles_steady", "cycles_single", "cycles_predicted", "utilization", "stalls")
    assert [b0[name] for name in (*numbers, "sim_seconds", "build", "authors", "first_difference")] == [None] * 11
    # One picture is all that the backbone's row runs.
    assert summary()["networks"]["seg-b0-512x384"]["why"] == {"single": REFUSED, "model": REFUSED}


def test_one_run_that_differs_is_enough() -> None:
    wrong = run(16 * 266_500, 16, 900.0, bit_exact=False, mismatches=2, first_difference="layer head.fc1: is 6, and must be 5")
    b1 = summary(rtl__b1_224__steady=wrong)["networks"]["b1-224"]
    assert (b1["bit_exact"], b1["first_difference"]) == (False, "layer head.fc1: is 6, and must be 5")


def test_a_batch_that_cannot_be_mapped_has_a_single_picture() -> None:
    result = {**summary_model(), "cycles_steady": None, "steady_error": "layer head.pool: has no room"}
    b1 = summary(model__b1_224=result)["networks"]["b1-224"]
    assert (b1["cycles_predicted"], b1["utilization_predicted"], b1["cycles_predicted_single"]) == (None, None, 320_000)
    assert b1["why"] == {"model": {"error": "layer head.pool: has no room"}}


def summary_model() -> dict[str, object]:
    from tests.triovit.bench.hardware.rows import model

    return model(320_000, 266_000.0)


def test_operations_of_a_dsp_are_those_of_b1_in_steady_state() -> None:
    design = summary()["design"]
    assert round(design["gops_per_dsp"], 4) == round(2 * 519_214_592 * 200e6 / 266_500 / 1e9 / 1100, 4) == 0.7085
    assert round(design["gops_per_dsp_predicted"], 4) == 0.7098
    names = ("dsp", "lut", "lut_sites", "ff", "bram36", "why")
    assert [design[name] for name in names] == [1100, 150_000, 120_000, 250_000, 700.5, {}]
    assert summary(rtl__b1_224__steady={"missing": "not measured"})["design"]["gops_per_dsp"] is None
    unknown = summary(design__zcu102={"missing": "not measured"})["design"]
    assert (unknown["dsp"], unknown["gops_per_dsp"], unknown["why"]) == (None, None, {"missing": "not measured"})


def test_the_summary_has_what_the_rows_have_in_common() -> None:
    found = summary()
    assert list(found) == ["versions", "cores", "clock_mhz", "memory", "networks", "design"]
    assert (found["clock_mhz"], found["memory"]) == (200, {"latency": 60, "beats_per_cycle": 1})
    assert list(found["networks"]) == [network.name for network in NETWORKS]
    assert {"python", "amaranth", "verilator", "cocotb"} <= found["versions"].keys()
