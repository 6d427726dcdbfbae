"""Runs a job on the simulated accelerator and returns everything that happened."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.control.descriptor import Unit
from sim.bench import records
from sim.bench.build import CACHE, TOP, BuildSpec, Built, build, tool_environment, tool_failure
from triovit.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
#: Channels of the AXI4 port, as the counters name them.
CHANNELS = ("ar", "r", "aw", "w", "b")
#: Above it, hardly anything would ever get through.
MAX_STALL = 95


@dataclass(frozen=True)
class Job:
    """What to run, and how the memory behaves meanwhile."""

    #: Content of the DRAM from address 0.
    memory: bytes
    #: Arguments of :meth:`sim.bench.driver.Driver.run`, once for every run.
    runs: tuple[Mapping[str, int], ...]
    #: The register map (:func:`hw.control.register_map.to_dict`).
    registers: Mapping[str, Any]
    #: Region of the DRAM to bring back, in bytes.
    output_address: int = 0
    output_bytes: int = 0
    #: Cycles from the address to the first beat, and from the last beat written to the response.
    latency: int = 20
    #: Percentage of the cycles in which each of the five channels makes the accelerator wait.
    stall: int = 0
    seed: int = 1
    #: Addresses whose beat is answered with an error, if any.
    read_error: int | None = None
    write_error: int | None = None
    #: Cycles without any progress, and cycles of a run, after which the bench gives up.
    patience: int = 1 << 17
    limit: int = 1 << 30
    #: Where to record waveforms; needs a build with ``waves``.
    waves: Path | None = None


class Outcome(Enum):
    """How a job ended."""

    FINISHED = "finished"        #: every run ended with an interrupt
    STUCK = "stuck"              #: nothing happened for ``patience`` cycles
    TIMEOUT = "timeout"          #: a run took more than ``limit`` cycles
    BUS_ERROR = "bus error"      #: a register did not answer, or with an error


@dataclass(frozen=True)
class Channel:
    """What happened on one AXI4 channel."""

    #: Transfers.
    count: int
    #: Cycles with valid and not ready.
    stalled: int
    #: Cycles in which the memory held back a beat or a response on purpose (r and b).
    held: int = 0


@dataclass(frozen=True)
class RunResult:
    """Everything that a job left behind."""

    outcome: Outcome
    #: What the driver reported after each run.
    reports: list[dict[str, int]]
    #: Cycles from the end of reset to the end of the simulation.
    cycles: int
    #: Writes into the activation buffers (:func:`sim.bench.records.write_dtype`).
    writes: NDArray[np.void]
    #: Dispatches and busy edges (:data:`sim.bench.records.EVENT`).
    events: NDArray[np.void]
    intervals: list[records.Interval]
    output: bytes
    channels: dict[str, Channel]
    #: AXI rules that the accelerator broke, each with its cycle.
    violations: list[str]
    #: Layer dispatched last (None if none was) and the units still busy at the end, as bits.
    last_tag: int | None
    busy: int
    bus_error: str
    built: Built
    #: How long the simulator ran, by the clock, from its process's start to its end.
    seconds: float
    waves: Path | None = None
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def dispatches(self) -> NDArray[np.void]:
        """The dispatches alone."""
        return self.events[self.events["kind"] == records.DISPATCH]

    def where(self) -> str:
        """One line that says where the accelerator stood at the end."""
        units = [unit.name or "" for unit in Unit if self.busy & unit]
        task = "nothing was dispatched" if self.last_tag is None else f"the last task dispatched was of layer {self.last_tag}"
        return f"{self.outcome.value} at cycle {self.cycles}: {task}; busy: {', '.join(units) or 'none'}"


def simulate(spec: BuildSpec, job: Job, *, cache: Path = CACHE, directory: Path | None = None) -> RunResult:
    """Build if necessary, run the job, and read what it left.

    Parameters
    ----------
    spec, job
        What to build and what to run on it.
    cache
        Where simulators are kept.
    directory
        Where the run's files go and stay; without it they are deleted, except those of a run that crashed.

    Raises
    ------
    UserError
        A tool is missing, the build failed, the job does not fit, or the simulator crashed. A run that hangs is no error
        but an :class:`Outcome`.
    """
    _check(spec, job)
    built = build(spec, cache)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        return _run(built, spec, job, directory.resolve())
    cache.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="run-", dir=cache.resolve()))
    result = _run(built, spec, job, temporary)
    shutil.rmtree(temporary)
    return result


def _check(spec: BuildSpec, job: Job) -> None:
    if not 0 <= job.stall <= MAX_STALL:
        raise UserError(f"a stall of {job.stall} % was asked for; choose one between 0 and {MAX_STALL}")
    needed = max(len(job.memory), job.output_address + job.output_bytes)
    if needed > spec.dram_bytes:
        raise UserError(f"the job needs {needed} bytes of DRAM, and the simulated one has {spec.dram_bytes}; raise dram_bytes")
    if job.output_address % spec.beat_bytes:
        raise UserError(f"the output address {job.output_address:#x} must be a multiple of {spec.beat_bytes} (a beat)")
    if job.waves and not spec.waves:
        raise UserError("this simulator was built without waveforms; build it with waves set to fst or vcd")


def _plusargs(spec: BuildSpec, job: Job) -> list[str]:
    options = {
        "memory": "memory.bin", "latency": job.latency, "stall": job.stall, "seed": job.seed,
        "patience": job.patience, "limit": job.limit, "dump_start": job.output_address, "dump_bytes": job.output_bytes,
        "read_error": job.read_error, "write_error": job.write_error,
    }
    return [f"+{name}={value}" for name, value in options.items() if value is not None]


def _run(built: Built, spec: BuildSpec, job: Job, directory: Path) -> RunResult:
    from cocotb_tools.runner import get_runner

    from sim.bench.cocotb_main import JOB, RESULT

    log = directory / "simulation.log"
    beats = -(-len(job.memory) // spec.beat_bytes)
    (directory / "memory.bin").write_bytes(job.memory.ljust(beats * spec.beat_bytes, b"\0"))
    settings = {"registers": dict(job.registers), "runs": [dict(run) for run in job.runs]}
    (directory / "job.json").write_text(json.dumps(settings))
    (directory / RESULT).unlink(missing_ok=True)
    if job.waves:
        # Verilator says nothing where it cannot write.
        job.waves.parent.mkdir(parents=True, exist_ok=True)
    waves = ["--trace-file", str(job.waves.resolve())] if job.waves else []
    with tool_environment(), _importable():
        runner = get_runner("verilator")
        # What it has to say is in the log file.
        runner.log.disabled = True
        begun = time.perf_counter()
        try:
            runner.test(
                test_module="sim.bench.cocotb_main", hdl_toplevel=TOP, hdl_toplevel_lang="verilog",
                build_dir=built.directory, test_dir=directory,
                plusargs=_plusargs(spec, job), test_args=waves, waves=bool(job.waves),
                extra_env={JOB: str(directory / "job.json"), "COCOTB_ANSI_OUTPUT": "0"},
                results_xml=str(directory / "results.xml"), log_file=log,
            )
        except (RuntimeError, OSError, SystemExit) as error:
            raise tool_failure("the simulation", log) from error
        seconds = time.perf_counter() - begun
    if not (directory / RESULT).is_file():
        raise tool_failure("the simulation", log)
    return _collect(built, spec, job, directory, json.loads((directory / RESULT).read_text()), seconds)


@contextmanager
def _importable() -> Iterator[None]:
    """Python in the simulator imports from the same places, and this package wherever it lies."""
    before = list(sys.path)
    sys.path[:] = [str(ROOT), *(str(Path(entry).resolve()) for entry in before)]
    try:
        yield
    finally:
        sys.path[:] = before


def _collect(
    built: Built, spec: BuildSpec, job: Job, directory: Path, result: dict[str, Any], seconds: float
) -> RunResult:
    lines = (directory / "summary.txt").read_text().splitlines()
    counters = {name: int(value) for name, value in (line.split() for line in lines)}
    outcome = {1: Outcome.STUCK, 2: Outcome.TIMEOUT}.get(counters["stopped"], Outcome.FINISHED)
    if result["bus_error"] and outcome is Outcome.FINISHED:
        outcome = Outcome.BUS_ERROR
    events = records.read_events(directory / "events.bin")
    return RunResult(
        outcome=outcome,
        reports=result["reports"],
        cycles=counters["cycles"],
        writes=records.read_writes(directory / "writes.bin", spec.l, spec.m),
        events=events,
        intervals=records.busy_intervals(events, counters["cycles"]),
        output=(directory / "output.bin").read_bytes()[: job.output_bytes],
        channels={
            name: Channel(counters[f"count_{name}"], counters[f"stalled_{name}"], counters.get(f"held_{name}", 0))
            for name in CHANNELS
        },
        violations=(directory / "rules.txt").read_text().splitlines(),
        last_tag=counters["last_tag"] if counters["dispatched"] else None,
        busy=counters["busy"],
        bus_error=result["bus_error"],
        built=built,
        seconds=seconds,
        waves=job.waves,
        counters=counters,
    )
