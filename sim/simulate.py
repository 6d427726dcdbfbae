"""``simulate``: the emitted Verilog under Verilator, every layer compared with the golden model."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw import generate, verilog
from hw.compiler.compile import compile_network
from hw.compiler.program import PAGE, Program
from hw.compiler.tasks import Task
from hw.config import AcceleratorConfig
from hw.control import register_map
from hw.control.descriptor import Opcode, Unit
from hw.control.errors import ErrorCode
from quant.artifact import Artifact
from sim.bench.build import BuildSpec
from sim.bench.runner import Job, Outcome, RunResult
from sim.bench.runner import simulate as run_bench
from sim.compare import Comparison, compare
from sim.cycles.model import Memory, Prediction, predict
from sim.golden.model import GoldenModel
from sim.golden.trace import STORED, Trace
from sim.observed import Observed, observe, stored, trace_of
from sim.report import Event, LayerRow, Wait
from triovit.errors import InternalError, UserError
from triovit.progress import Progress, silent

#: Counters of a run that a report keeps, by their registers' names in lower case.
_COUNTERS = (
    "mat_busy",
    "rmac_busy",
    "load_busy",
    "store_busy",
    "weight_beats_read",
    *(stall.name for stall in register_map.STALLS),
)

_ENGINES = {Unit.MAT: "MAT", Unit.RMAC: "R-MAC", Unit.LOAD: "LOAD", Unit.STORE: "STORE"}


@dataclass(frozen=True)
class MemoryOptions:
    """The simulated DRAM: cycles to the first beat, percentage of random stalls on every AXI channel, and their seed."""

    latency: int = 20
    stall: int = 0
    seed: int = 1


@dataclass(frozen=True)
class SimulationReport:
    """What a simulation found; cycles are those of the last run, from its start to its end.

    ``output`` is the network's for every picture as it lies in memory, empty when a layer alone was compared.
    """

    config: str
    images: int
    #: Pictures of a run.
    batch: int
    comparison: Comparison
    cycles: int
    cycles_predicted: int
    macs: int
    utilization: float
    layers: tuple[LayerRow, ...]
    timeline: tuple[Event, ...]
    counters: dict[str, int]
    output: NDArray[np.int64]
    #: How long the simulator ran, by the clock; neither building it nor the golden model is part of it.
    seconds: float
    waves: Path | None

    @property
    def waits(self) -> tuple[Wait, ...]:
        """What units with work waited for, as the hardware's registers say."""
        return tuple(Wait(stall.unit, stall.awaited, self.counters[stall.name]) for stall in register_map.STALLS)


@dataclass(frozen=True)
class _Hardware:
    """Where the Verilog is, and the program image that runs on it."""

    config: AcceleratorConfig
    source: Path
    image: bytes | None


def simulate(
    artifact: Artifact,
    hardware: Path | AcceleratorConfig,
    pictures: NDArray[np.uint8],
    *,
    layer: str | None = None,
    batch: int = 1,
    waves: bool = False,
    memory: MemoryOptions | None = None,
    progress: Progress = silent,
    directory: Path | None = None,
) -> SimulationReport:
    """Run pictures one after the other, or a batch in each run, and compare every tensor written with the golden model.

    The network's output is compared twice: as it is written into its buffer, and as the host finds it in memory in the end.

    Parameters
    ----------
    artifact
        The network.
    hardware
        A directory that ``generate`` wrote (its Verilog and its image are what runs), or a configuration.
    pictures
        uint8 ``[N, 3, H, W]``.
    layer
        Run the network up to this layer and compare it alone.
    batch
        Pictures of a run; their number is a multiple of it.
    waves
        Record a waveform (FST).
    memory
        How the simulated DRAM behaves.
    progress
        Called as the steps go by.
    directory
        Where the run's files stay; by default only waveforms do, in ``build/waves``.

    Raises
    ------
    UserError
        A picture, the directory or a tool is not what it must be.
    InternalError
        The hardware ended with an error or not at all.
    """
    memory = memory or MemoryOptions()
    progress("simulate", 0, 4)
    if len(pictures) % batch:
        raise UserError(f"{len(pictures)} pictures are no multiple of a batch of {batch}; give as many as fill all batches")
    if layer is not None and batch > 1:
        raise UserError(f"layer {layer}: is compared alone only with a batch of 1")
    golden = GoldenModel(artifact).run(pictures)
    built = _hardware(artifact, hardware)
    program = compile_network(artifact, built.config, batch)
    if built.image is not None and built.image != program.image():
        raise UserError(f"{hardware}: its program is not that of this artifact; run `triovit generate` again")
    if layer is not None:
        program = _up_to(program, artifact.layer(layer).name)
    progress("simulate", 1, 4)
    result = _run(built, program, pictures, memory, waves, directory)
    progress("simulate", 3, 4)
    _check_outcome(result, artifact, len(pictures) // batch, "picture" if batch == 1 else "run")

    starts = _run_starts(result, program)
    observed = []
    for start, end in starts:
        records, begun = _between(result.writes, start, end), _task_starts(result, program, start, end)
        observed += [observe(records, program, artifact, begun, picture) for picture in range(batch)]
    found = trace_of(observed, artifact)
    output = np.zeros(0, np.int64)
    if layer is None:
        output = _stored(result, program, artifact, len(pictures) // batch)
        golden, found = _with_stored(golden, golden.output), _with_stored(found, output)
    compared = [layer] if layer else dict.fromkeys(task.layer for task in program.tasks)
    tensors = [tensor for name in compared for tensor in golden.of_layer(name)]
    comparison = compare(golden, found, only=tensors, cycle_of=_cycle_lookup(observed))
    prediction = predict(program, Memory(memory.latency))
    times = _task_times(result, program, *starts[-1])
    progress("simulate", 4, 4)
    cycles = result.reports[-1]["cycles"]
    return SimulationReport(
        config=built.config.name,
        images=len(pictures),
        batch=batch,
        comparison=comparison,
        cycles=cycles,
        cycles_predicted=prediction.cycles,
        macs=prediction.macs,
        utilization=prediction.macs / (cycles * built.config.multipliers),
        layers=tuple(_layer_rows(artifact, program, times, prediction)),
        timeline=tuple(_timeline(times)),
        counters={name: value for name, value in result.reports[-1].items() if name in _COUNTERS},
        output=output,
        seconds=result.seconds,
        waves=result.waves,
    )


def _hardware(artifact: Artifact, hardware: Path | AcceleratorConfig) -> _Hardware:
    if isinstance(hardware, AcceleratorConfig):
        return _Hardware(hardware, verilog.emit(hardware), None)
    described = _read_manifest(hardware)
    try:
        config, digests = AcceleratorConfig(**described["configuration"]), described["files"]
        expected = {name: digests[name] for name in (generate.VERILOG, generate.IMAGE)}
        registers = described["registers"]
    except (KeyError, TypeError):
        raise UserError(f"{hardware / generate.MANIFEST}: is damaged; run `triovit generate` again") from None
    contents = {}
    for name, digest in expected.items():
        path = hardware / name
        try:
            contents[name] = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); run `triovit generate` again") from None
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise UserError(f"{path}: differs from what the manifest says; run `triovit generate` again")
    if registers != register_map.to_dict(config):
        raise UserError(f"{hardware}: its registers are not those of this triovit; run `triovit generate` again")
    return _Hardware(config, hardware / generate.VERILOG, contents[generate.IMAGE])


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / generate.MANIFEST
    try:
        described = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a directory that `triovit generate` wrote") from None
    except ValueError:
        raise UserError(f"{path}: is no JSON; run `triovit generate` again") from None
    if not isinstance(described, dict) or described.get("schema") != generate.SCHEMA:
        raise UserError(f"{path}: is no manifest of generated hardware; give a directory that `triovit generate` wrote")
    if (version := described.get("version")) != generate.VERSION:
        raise UserError(f"{path}: has version {version}, and this triovit reads {generate.VERSION}; run `triovit generate` again")
    return described


def _up_to(program: Program, layer: str) -> Program:
    """The program's tasks up to the last one of a layer; nothing is stored."""
    last = max(index for index, task in enumerate(program.tasks) if task.layer == layer and task.opcode is not Opcode.STORE)
    return replace(program, tasks=program.tasks[: last + 1])


def _run(
    built: _Hardware, program: Program, pictures: NDArray[np.uint8], memory: MemoryOptions, waves: bool, directory: Path | None
) -> RunResult:
    at, count = program.addresses, len(pictures) // program.batch.pictures
    run_size, output_size = at["output"] - at["input"], at["end"] - at["output"]
    picture_size = run_size // program.batch.pictures
    outputs = at["input"] + count * run_size
    image = bytearray(program.image())
    for picture in pictures:
        image += picture.transpose(1, 2, 0).tobytes().ljust(picture_size, b"\0")
    runs = []
    for index in range(count):
        runs.append(
            {
                "program": at["program"],
                "program_count": program.descriptor_count,
                "weights": at["weights"],
                "weights_beats": program.weight_beats,
                "weights_repeated": program.repeated_beats,
                "weights_passes": program.batch.pictures,
                "picture": at["input"] + index * run_size,
                "output": outputs + index * output_size,
            }
        )
    needed = max(outputs + count * output_size, PAGE)
    dram = max(1 << 26, 1 << (needed - 1).bit_length())
    spec = BuildSpec.for_config(built.config, (built.source,), dram_bytes=dram, waves="fst" if waves else "")
    job = Job(
        memory=bytes(image),
        runs=tuple(runs),
        registers=register_map.to_dict(built.config),
        output_address=outputs,
        output_bytes=count * output_size,
        latency=memory.latency,
        stall=memory.stall,
        seed=memory.seed,
        waves=Path("build/waves/triovit.fst").resolve() if waves else None,
    )
    return run_bench(spec, job, directory=directory)


def _check_outcome(result: RunResult, artifact: Artifact, runs: int, what: str) -> None:
    where = result.where()
    if result.last_tag is not None and result.last_tag < len(artifact.layers):
        where += f" ({artifact.layers[result.last_tag].name})"
    if result.outcome is not Outcome.FINISHED or len(result.reports) != runs:
        raise InternalError(f"the simulation did not end well: {where}")
    for index, report in enumerate(result.reports):
        if report["error"]:
            code, at = ErrorCode(report["error_code"]).name, report["error_index"]
            raise InternalError(f"{what} {index}: the accelerator reports error {code} at descriptor {at}; {where}")
    if result.violations:
        raise InternalError(f"the accelerator broke an AXI rule: {result.violations[0]}")


def _stored(result: RunResult, program: Program, artifact: Artifact, runs: int) -> NDArray[np.int64]:
    """The output of every picture, as the host reads it."""
    size = len(result.output) // runs
    return np.stack([
        stored(result.output[index * size :], program, artifact, picture)
        for index in range(runs)
        for picture in range(program.batch.pictures)
    ])


def _with_stored(trace: Trace, output: NDArray[Any]) -> Trace:
    return replace(trace, tensors={**trace.tensors, f"{trace.output_name}.{STORED}": output})


def _run_starts(result: RunResult, program: Program) -> list[tuple[int, int]]:
    """First cycle of each run's first dispatch, and of the next run's."""
    per_run = program.descriptor_count
    firsts = [int(event["cycle"]) for event in result.dispatches[::per_run]]
    return list(zip(firsts, [*firsts[1:], result.cycles + 1], strict=True))


def _between(records: NDArray[np.void], start: int, end: int) -> NDArray[np.void]:
    return records[(records["cycle"] >= start) & (records["cycle"] < end)]


def _cycle_lookup(observed: list[Observed]) -> Any:
    def cycle_of(tensor: str, index: tuple[int, ...]) -> int | None:
        if tensor not in observed[index[0]].cycles:
            return None
        cycle = int(observed[index[0]].cycles[tensor][index[1:]])
        return None if cycle < 0 else cycle

    return cycle_of


@dataclass(frozen=True)
class _Time:
    task: Task
    start: int
    end: int


def _task_starts(result: RunResult, program: Program, start: int, end: int) -> list[int]:
    """When each task of a run was dispatched; END is no task."""
    cycles = _between(result.dispatches, start, end)["cycle"].tolist()
    if len(cycles) != len(program.tasks) + 1:
        raise InternalError(f"the run has {len(cycles)} dispatches, and the program {len(program.tasks)} tasks and END")
    return cycles[:-1]


def _task_times(result: RunResult, program: Program, start: int, end: int) -> list[_Time]:
    """When each task of a run was dispatched and its unit fell idle or took another, counted from the run's first dispatch."""
    times = []
    started = list(zip(program.tasks, _task_starts(result, program, start, end), strict=True))
    for index, (task, begun) in enumerate(started):
        ended = min(interval.end for interval in result.intervals if interval.unit is task.unit and interval.end > begun)
        following = (when for later, when in started[index + 1 :] if task.unit & (later.unit | (Unit.RMAC if later.joint else 0)))
        times.append(_Time(task, begun - start, min(ended, next(following, ended)) - start))
    return times


def _layer_rows(artifact: Artifact, program: Program, times: list[_Time], prediction: Prediction) -> list[LayerRow]:
    """What each layer took, for the last picture of a run or for all of them at once."""
    last_picture = program.batch.pictures - 1
    foretold = prediction.layers(last_picture)
    rows = []
    for layer in artifact.layers:
        mine = [
            time
            for time in times
            if time.task.layer == layer.name
            and time.task.opcode is not Opcode.STORE
            and time.task.picture in (None, last_picture)
        ]
        if not mine:
            continue
        cycles = max(time.end for time in mine) - min(time.start for time in mine)
        first, last = foretold[layer.name]
        macs = sum(time.task.macs for time in mine)
        units = {_ENGINES[time.task.unit] for time in mine if time.task.opcode is not Opcode.LOAD}
        units |= {"R-MAC" for time in mine if time.task.joint}
        rows.append(
            LayerRow(
                name=layer.name,
                kind=layer.kind,
                engine=" + ".join(sorted(units)),
                macs=macs,
                cycles=cycles,
                predicted=last - first,
                utilization=macs / (cycles * program.config.multipliers),
            )
        )
    return rows


def _timeline(times: list[_Time]) -> list[Event]:
    events = []
    for time in times:
        events.append(Event(engine=_ENGINES[time.task.unit], layer=time.task.layer, start=time.start, end=time.end))
        if time.task.joint:
            events.append(Event(engine=_ENGINES[Unit.RMAC], layer=time.task.layer, start=time.start, end=time.end))
    return events
