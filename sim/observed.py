"""From what the simulated hardware wrote to the tensors of a trace, each element with its cycle."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.compiler.program import Program, pages
from hw.compiler.tasks import Task
from hw.control.descriptor import Opcode
from quant.artifact import Artifact
from quant.layer import Layer
from sim.bench import assemble
from sim.golden.trace import Trace

#: Value of an element that was never written; no int8 or int16 tensor holds it.
UNWRITTEN = -(1 << 20)
_WRITES_TENSORS = (Opcode.PW, Opcode.QZ, Opcode.LN, Opcode.DW, Opcode.POOL)


@dataclass(frozen=True)
class Observed:
    """Tensors of one picture, and the cycle at which each element was written (-1: never)."""

    tensors: dict[str, NDArray[np.int64]]
    cycles: dict[str, NDArray[np.int64]]


def observe(
    records: NDArray[np.void], program: Program, artifact: Artifact, starts: Sequence[int] = (), picture: int = 0
) -> Observed:
    """Every tensor that the program's tasks should have written for one picture.

    Parameters
    ----------
    records
        What one run wrote.
    program, artifact
        What ran.
    starts
        Cycle in which each task was dispatched; needed where the run had several pictures.
    picture
        Which of them.
    """
    tensors: dict[str, NDArray[np.int64]] = {}
    cycles: dict[str, NDArray[np.int64]] = {}
    for tag, layer in enumerate(artifact.layers):
        tasks = [task for task in program.tasks if task.get("tag") == tag and task.opcode not in (Opcode.LOAD, Opcode.STORE)]
        if not tasks:
            continue
        side_by_side = layer.name in program.batch.vectors
        own = records[records["tag"] == tag]
        if program.batch.pictures > 1 and not side_by_side:
            own = own[_during(own, program, starts, tag, picture)]
        tasks = [task for task in tasks if task.picture in (None, picture)]
        if layer.kind == "attention":
            for part, (values, when) in _attention(own, tasks, layer).items():
                tensors[f"{layer.name}.{part}"], cycles[f"{layer.name}.{part}"] = values, when
        target = next(task.get("dst") for task in tasks if task.opcode in _WRITES_TENSORS)
        channels, pixels = layer.output_shape[0], int(np.prod(layer.output_shape[1:], dtype=int))
        found = assemble.tensor(own, tag, target, channels, program.batch.pictures if side_by_side else pixels)
        here = slice(picture, picture + 1) if side_by_side else slice(None)
        tensors[layer.name] = np.where(found.written, found.values, UNWRITTEN)[:, here].reshape(layer.output_shape)
        cycles[layer.name] = found.cycles[:, here].reshape(layer.output_shape)
        if (order := program.orders.get(layer.name)) is not None:
            for found_there in (tensors, cycles):
                found_there[layer.name] = found_there[layer.name][np.argsort(order)]
    return Observed(tensors, cycles)


def _during(records: NDArray[np.void], program: Program, starts: Sequence[int], tag: int, picture: int) -> NDArray[np.bool_]:
    """Which of a layer's records were written between its first dispatch for one picture and that for the next one."""
    firsts: dict[int | None, int] = {}
    for task, start in zip(program.tasks, starts, strict=True):
        if task.get("tag") == tag and task.opcode not in (Opcode.LOAD, Opcode.STORE):
            firsts.setdefault(task.picture, start)
    after = records["cycle"] >= firsts[picture]
    following = firsts.get(picture + 1)
    return after if following is None else after & (records["cycle"] < following)


def _attention(
    records: NDArray[np.void], tasks: list[Task], layer: Layer
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Z, Ksum and the codes. Their records do not name the head: batches and heads come in order."""
    heads, dim = layer.attrs["heads"], layer.attrs["dim"]
    lanes, size = records["words"].shape[1:]
    groups = dim // size
    pixels = int(np.prod(layer.output_shape[1:], dtype=int))
    shapes = {"z": (heads, dim, dim), "ksum": (heads, dim), "code": (heads, pixels)}
    found = {part: (np.full(shape, UNWRITTEN, np.int64), np.full(shape, -1, np.int64)) for part, shape in shapes.items()}
    summing = [task for task in tasks if task.opcode is Opcode.KTV]
    dividing = [task for task in tasks if task.opcode is Opcode.DIV]
    sums = records[records["dst"] == summing[0].get("dst")]
    z, ksum = iter(sums[sums["row_sum"] == 0]), iter(sums[sums["row_sum"] != 0])
    codes = records[records["dst"] == dividing[0].get("dst")]
    first = 0
    for task in summing:
        count = task.get("heads")
        for _ in range(count * groups * groups):
            if (record := next(z, None)) is not None:
                head, k = divmod(int(record["px"]), groups)
                rows, columns = slice(k * size, (k + 1) * size), slice(int(record["cg"]) * size, (int(record["cg"]) + 1) * size)
                found["z"][0][first + head, rows, columns] = record["words"][:size]
                found["z"][1][first + head, rows, columns] = record["cycle"]
        for _ in range(count * groups):
            if (record := next(ksum, None)) is not None:
                head, k = divmod(int(record["px"]), groups)
                found["ksum"][0][first + head, k * size : (k + 1) * size] = record["words"][0]
                found["ksum"][1][first + head, k * size : (k + 1) * size] = record["cycle"]
        first += count
    heads_seen: Counter[int] = Counter()
    for record in codes:
        px = int(record["px"])
        head, there = heads_seen[px], slice(px, min(px + lanes, pixels))
        heads_seen[px] += 1
        if head < heads:
            found["code"][0][head, there] = record["words"][: there.stop - there.start, 0]
            found["code"][1][head, there] = record["cycle"]
    return found


def stored(memory: bytes, program: Program, artifact: Artifact, picture: int = 0) -> NDArray[np.int64]:
    """A picture's output as STORE left it in memory (:class:`hw.io.store.Store` has the layout), which begins with the run's."""
    if program.output not in program.batch.vectors:
        memory = memory[picture * pages(program.output_bytes) :]
        pixels = slice(0, program.places[program.output].pixels)
    else:
        pixels = slice(picture, picture + 1)
    config, place = program.config, program.places[program.output]
    shape = artifact.layer(program.output).output_shape
    rows = np.frombuffer(memory, "<i2", program.output_bytes // 2).reshape(place.groups, place.rows * config.l, config.m)
    values = rows.transpose(0, 2, 1).reshape(place.groups * config.m, -1)
    return values[: shape[0], pixels].reshape(shape).astype(np.int64)


def trace_of(observed: list[Observed], artifact: Artifact) -> Trace:
    """The trace of several pictures, comparable with the golden model's."""
    names = observed[0].tensors
    return Trace(
        layers=tuple(layer.name for layer in artifact.layers),
        tensors={name: np.stack([one.tensors[name] for one in observed]) for name in names},
        output_name=artifact.output,
    )
