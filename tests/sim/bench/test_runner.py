"""The bench around a stand-in accelerator: memory, stalls, errors, watchdog, traces, waveforms and the cache of builds."""

from pathlib import Path

import numpy as np
import pytest

from hw.control.descriptor import Unit
from sim import toolchain
from sim.bench.assemble import tensor
from sim.bench.build import BuildSpec, build, tool_environment
from sim.bench.runner import Job, Outcome, simulate
from triovit.errors import UserError

MISSING = toolchain.missing_for_simulation()
pytestmark = pytest.mark.skipif(
    any(check.tool == "C++ compiler" for check in MISSING), reason="the simulator is compiled, and there is no C++ compiler"
)

BEATS, SOURCE, TARGET, BEAT = 24, 0x1000, 0x3000, 16
OUTPUT = BEATS * BEAT - 5
HANG, PAGE, DEAF = 1, 2, 4


def _register(index, /, **fields):
    fields = fields or {"value": (0, 32, "read, write")}
    places = {name: {"low": low, "bits": bits, "access": access} for name, (low, bits, access) in fields.items()}
    return {"offset": 4 * index, "fields": places}


REGISTERS = {
    "CTRL": _register(0, start=(0, 1, "pulse"), irq_enable=(2, 1, "read, write")),
    "STATUS": _register(1, busy=(0, 1, "read only"), done=(1, 1, "sticky"), error=(2, 1, "sticky")),
    "ERROR": _register(2, code=(0, 4, "read only"), index=(16, 16, "read only")),
    "PROGRAM_ADDR_LO": _register(3), "PROGRAM_ADDR_HI": _register(4), "PROGRAM_COUNT": _register(5),
    "WEIGHTS_ADDR_LO": _register(6), "WEIGHTS_ADDR_HI": _register(7), "WEIGHTS_BEATS": _register(8),
    "WEIGHTS_REPEATED": _register(16), "WEIGHTS_PASSES": _register(17),
    "INPUT_ADDR_LO": _register(9), "INPUT_ADDR_HI": _register(10),
    "OUTPUT_ADDR_LO": _register(11), "OUTPUT_ADDR_HI": _register(12),
    "COUNTED_LAYER": _register(18, tag=(0, 16, "read, write"), only=(16, 1, "read, write")),
    "CYCLES": _register(15, value=(0, 32, "read only")),
}


def _run(fault=0, source=SOURCE, target=TARGET, beats=BEATS):
    return {
        "program": 0, "program_count": beats, "weights": 0, "weights_beats": fault, "picture": source, "output": target,
    }


def _memory():
    return bytes(np.random.default_rng(5).integers(0, 256, 0x2000, dtype=np.uint8))


def _job(*runs, **changes):
    settings = {
        "memory": _memory(), "runs": runs or (_run(),), "registers": REGISTERS, "output_address": TARGET, "output_bytes": OUTPUT,
    }
    return Job(**(settings | changes))


def _expected():
    return (np.frombuffer(_memory(), np.uint8)[SOURCE : SOURCE + OUTPUT] + np.uint8(1)).tobytes()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def spec():
    return BuildSpec((Path(__file__).parent / "standin.sv",), beat_bytes=BEAT, l=4, m=4, dram_bytes=1 << 16)


@pytest.fixture(scope="module")
def smooth(spec, cache):
    return simulate(spec, _job(_run(), _run(), latency=5), cache=cache)


def test_two_runs_copy_the_region_and_report_done(smooth):
    assert smooth.outcome is Outcome.FINISHED
    assert smooth.output == _expected()
    assert [(report["irq"], report["done"], report["error"], report["busy"]) for report in smooth.reports] == [(1, 1, 0, 0)] * 2
    assert smooth.reports[0]["cycles"] == 0
    assert smooth.violations == []
    assert smooth.counters["loaded"] == 0x2000


def test_no_channel_stalls_unless_asked(smooth):
    assert {name: channel.count for name, channel in smooth.channels.items()} == dict.fromkeys(smooth.channels, 2 * BEATS)
    assert all(channel.held == 0 for channel in smooth.channels.values())
    assert smooth.channels["ar"].stalled == smooth.channels["aw"].stalled == 0


def test_latency_costs_what_it_says(spec, cache, smooth):
    slow = simulate(spec, _job(latency=25), cache=cache)
    fast = simulate(spec, _job(latency=5), cache=cache)
    # Each beat waits for its data and for its response.
    assert slow.cycles - fast.cycles == 2 * 20 * BEATS
    assert slow.built.reused


def test_random_stalls_happen_on_every_channel_and_change_nothing_but_time(spec, cache, smooth):
    stalled = simulate(spec, _job(stall=50, seed=3, latency=5), cache=cache)
    again = simulate(spec, _job(stall=50, seed=3, latency=5), cache=cache)
    other = simulate(spec, _job(stall=50, seed=4, latency=5), cache=cache)
    assert stalled.output == _expected()
    assert stalled.violations == []
    assert all(stalled.channels[name].stalled > 0 for name in ("ar", "aw", "w"))
    assert all(stalled.channels[name].held > 0 for name in ("r", "b"))
    assert (again.cycles, again.channels) == (stalled.cycles, stalled.channels)
    assert other.channels != stalled.channels


@pytest.mark.parametrize("fault", [{"read_error": SOURCE + 3 * BEAT + 1}, {"write_error": TARGET + 3 * BEAT}])
def test_injected_errors_reach_the_accelerator(spec, cache, fault):
    result = simulate(spec, _job(**fault), cache=cache)
    assert result.outcome is Outcome.FINISHED
    assert result.reports[0]["error"] == 1
    assert result.channels["r"].count == 4


def test_outside_dram_is_an_error(spec, cache):
    result = simulate(spec, _job(_run(source=1 << 33)), cache=cache)
    assert result.reports[0]["error"] == 1


def test_the_watchdog_ends_a_hang_and_says_where_it_stood(spec, cache):
    result = simulate(spec, _job(_run(HANG), _run(), patience=500), cache=cache)
    assert result.outcome is Outcome.STUCK
    assert len(result.reports) == 1
    assert (result.last_tag, result.busy, result.reports[0]["irq"]) == (7, Unit.MAT | Unit.RMAC, 0)
    assert result.cycles < 3000
    assert result.where() == f"stuck at cycle {result.cycles}: the last task dispatched was of layer 7; busy: MAT, RMAC"
    assert result.intervals[-1].end == result.cycles


def test_a_run_that_takes_too_long_is_cut_off(spec, cache):
    result = simulate(spec, _job(limit=100), cache=cache)
    assert result.outcome is Outcome.TIMEOUT
    assert result.reports[0]["busy"] == 1


def test_a_register_that_never_answers_is_reported(spec, cache):
    result = simulate(spec, _job(_run(DEAF)), cache=cache)
    assert result.outcome is Outcome.BUS_ERROR
    assert result.bus_error == "register 0x4 does not answer"


def test_broken_axi_rules_are_found(spec, cache):
    result = simulate(spec, _job(_run(PAGE, source=0x1010, beats=1)), cache=cache)
    assert len(result.violations) == 1
    assert result.violations[0].endswith("a read burst crosses a 4 KiB boundary")


def test_traces_become_tensors(smooth):
    assert len(smooth.writes) == 2 * BEATS
    assert smooth.dispatches["tag"].tolist() == [7, 7]
    assert smooth.dispatches["value"].tolist() == [Unit.MAT, Unit.MAT]
    second = smooth.writes[1]
    assert [int(second[name]) for name in ("tag", "dst", "px", "cg", "mask", "split", "row_sum")] == [7, 3, 2, 4, 15, 1, 1]
    result = tensor(smooth.writes, 7, 3, 24, 2 * BEATS)
    assert not result.written[:16].any()
    assert not result.written[16:20, 1].any()
    # The word of slot 2 (pixel 0, second channel group) holds -8 .. -11.
    assert result.values[20:24, 0].tolist() == [-8, -9, -10, -11]
    assert result.values[16, 2:6].tolist() == [100, 96, 200, 196]
    # Of the two runs the second one counts.
    assert result.cycles[16, 0] == smooth.writes[BEATS]["cycle"]


def test_busy_intervals_follow_the_dispatches(smooth):
    mat = [interval for interval in smooth.intervals if interval.unit is Unit.MAT]
    assert [interval.tag for interval in mat] == [7, 7]
    assert all(interval.start < interval.end for interval in mat)
    assert sum(interval.unit is Unit.RMAC for interval in smooth.intervals) == BEATS
    assert {interval.tag for interval in smooth.intervals if interval.unit is Unit.RMAC} == {-1}


def test_waves_are_recorded(spec, cache, tmp_path):
    waves = tmp_path / "job.vcd"
    recording = BuildSpec(spec.sources, BEAT, 4, 4, dram_bytes=spec.dram_bytes, waves="vcd")
    result = simulate(recording, _job(waves=waves), cache=cache)
    assert result.output == _expected()
    assert "$enddefinitions" in waves.read_text()
    with pytest.raises(UserError, match="built without waveforms"):
        simulate(spec, _job(waves=waves), cache=cache)


def test_a_build_is_reused_until_a_source_changes(spec, cache, tmp_path, smooth):
    assert build(spec, cache).reused
    assert build(spec, cache).directory == smooth.built.directory
    changed = tmp_path / "standin.sv"
    changed.write_text(spec.sources[0].read_text() + "// changed\n")
    with tool_environment():
        assert BuildSpec((changed,), BEAT, 4, 4, dram_bytes=spec.dram_bytes).key() != spec.key()


def test_a_failed_build_names_its_first_error_and_keeps_the_log(cache, tmp_path):
    broken = tmp_path / "broken.sv"
    broken.write_text("module triovit(input logic clk);\n  assign nothing_here = missing_signal;\nendmodule\n")
    with pytest.raises(UserError, match=r"building the simulator failed: %Error.* \(log: .*\.log\)") as caught:
        build(BuildSpec((broken,), BEAT, 4, 4), cache)
    assert Path(str(caught.value).rsplit("log: ", 1)[1].rstrip(")")).is_file()


def test_run_files_are_kept_where_asked(spec, cache, tmp_path):
    simulate(spec, _job(), cache=cache, directory=tmp_path / "run")
    assert (tmp_path / "run" / "simulation.log").is_file()
    assert list(cache.glob("run-*")) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stall": 100}, "between 0 and 95"),
        ({"memory": bytes(1 << 17)}, "raise dram_bytes"),
        ({"output_address": 8}, "multiple of 16"),
    ],
)
def test_jobs_that_cannot_run_are_refused(spec, cache, changes, message):
    with pytest.raises(UserError, match=message):
        simulate(spec, _job(**changes), cache=cache)
