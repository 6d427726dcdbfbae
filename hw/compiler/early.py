"""Which tasks may start before the results of the one before have been written: the proof, task by task.

A task with ``early`` starts on an engine that has issued its last beat; the results of all tasks before that one are written.
What is issued cannot be held up any more but by results that are taken before it: :func:`flight` cycles later it can be read.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hw.compiler.tasks import NONE, Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import Act, Buffer, Opcode, Unit
from hw.interfaces import ROW_BITS
from hw.timing import START, Timing

#: Units whose tasks can be followed early.
ENGINES = (Unit.MAT, Unit.RMAC)
_OTHER = {Unit.MAT: Unit.RMAC, Unit.RMAC: Unit.MAT}
#: Later than any cycle.
_NEVER = 1 << 40

Cycles = NDArray[np.int64]


def flight(config: AcceleratorConfig, *, alone: bool = False) -> int:
    """Cycles from issuing the last beat of a result to its being readable.

    Post-processing takes a result a cycle, and the engine's queue is full at most; so is the other one's, with which it takes
    turns, unless the engine works ``alone``.
    """
    timing = Timing.of(config)
    slowest = max(timing.mat_result, timing.ln_result, timing.dw_result + config.wide, timing.ktv_result + 1, timing.pool_result)
    return slowest + (1 if alone else 2) * config.result_depth + timing.written


def _units(task: Task) -> Unit:
    return task.unit | (Unit.RMAC if task.joint else NONE)


@dataclass(frozen=True)
class _Region:
    """Rows of a buffer that a task reads or writes."""

    buffer: int
    first: int
    end: int

    def meets(self, other: "_Region") -> bool:
        return self.buffer == other.buffer and self.first < other.end and other.first < self.end


def _region(task: Task, config: AcceleratorConfig, buffer: int, base: int, rows: int, ring: int) -> _Region:
    """The rows of the task's pixels, in all channel groups of a tensor; a window's base may lie before row 0."""
    fold = task.get("dst_fold") if buffer == Buffer.H.value else 0
    groups = task.get("dst_cg_end") << fold
    spread = -(-groups // config.wide) if buffer == Buffer.H.value else groups
    if ring or fold:
        # A folded channel group's chunks share rows.
        return _Region(buffer, base, base + spread * -(-rows // (1 << fold)))
    pixels, _ = _shape(task)
    first, end = task.get("px_start") // config.l, -(-pixels // config.l)
    begin = (base + first) % (1 << ROW_BITS)
    return _Region(buffer, begin, begin + (spread - 1) * rows + end - first)


def _written(task: Task, config: AcceleratorConfig) -> list[_Region]:
    """The tensors that a task writes to; Z and the codes have no rows of a tensor."""
    found = []
    for on, name in ((True, "dst"), (bool(task.get("dst2_on")), "dst2")):
        buffer, base = task.get(name), task.get(f"{name}_base")
        if on and buffer not in (Buffer.Z.value, Buffer.DIV.value):
            found.append(_region(task, config, buffer, base, task.get("dst_rows"), task.get("dst_ring")))
    return found


def _adds(task: Task) -> bool:
    """Whether a task adds a residual."""
    return task.opcode is Opcode.PW and task.get("act") == Act.RESIDUAL.value


def _residual(task: Task, config: AcceleratorConfig) -> list[_Region]:
    """The tensor that a task adds."""
    if not _adds(task):
        return []
    place = (task.get("res_src"), task.get("res_base"), task.get("res_rows"), task.get("res_ring"))
    return [_region(task, config, *place)]


def _reads_tensor(reader: Task, writer: Task) -> bool:
    source = (reader.get("src"), reader.get("src_base"))
    places = [(writer.get("dst"), writer.get("dst_base"))]
    if writer.get("dst2_on"):
        places.append((writer.get("dst2"), writer.get("dst2_base")))
    return source in places and reader.opcode is not Opcode.LOAD


def _adds_tensor(reader: Task, writer: Task) -> bool:
    """Residuals lie in X or Y, whose rows are no shared ones."""
    places = [(writer.get("dst"), writer.get("dst_base"))]
    if writer.get("dst2_on"):
        places.append((writer.get("dst2"), writer.get("dst2_base")))
    return _adds(reader) and (reader.get("res_src"), reader.get("res_base")) in places


def _shape(writer: Task) -> tuple[int, int]:
    return writer.get("px_start") + 1 if writer.opcode is Opcode.POOL else writer.get("px_end"), writer.get("dst_cg_end")


def issued_before_end(task: Task, config: AcceleratorConfig) -> Cycles:
    """``[pixel][channel group]``: at least so many cycles before its last beat a task issued the one that completes each word.

    What the task does not write is written long ago.
    """
    pixels, groups = _shape(task)
    ages = np.full((pixels, groups), _NEVER)
    px, cg = np.arange(pixels)[:, None], np.arange(groups)[None, :]
    tiles, depth = task.get("tiles"), task.get("depth")
    if task.opcode in (Opcode.PW, Opcode.QZ):
        lp = 1 << task.get("lp")
        engines = 2 if task.joint else 1
        per_tile = ((config.l // lp) >> task.get("wide")) * engines
        tile, group = (cg - task.get("dst_cg")) // per_tile, (px - task.get("px_start")) // lp
        count = -(-(pixels - task.get("px_start")) // lp)
        order = group * tiles + tile if task.get("pixel_outer") else tile * count + group
        mine = (px >= task.get("px_start")) & (cg >= task.get("dst_cg")) & (tile < tiles)
        ages = np.where(mine, (tiles * count - 1 - order) * depth, _NEVER)
    elif task.opcode is Opcode.DW:
        segment, count = _segment(task, config, px)
        mine = (px >= task.get("px_start")) & (cg >= 0)
        ages = np.where(mine, (count - 1 - segment) * tiles * task.get("kernel") ** 2, _NEVER)
    elif task.opcode is Opcode.POOL:
        beats = -(-task.get("px_end") // config.l)
        ages = np.where(px == task.get("px_start"), (tiles - 1 - cg) * beats, _NEVER)
    else:
        ages = np.zeros((pixels, groups), np.int64)
    return np.maximum(ages, 0)


def _segment(task: Task, config: AcceleratorConfig, px: Cycles) -> tuple[Cycles, int]:
    """The segment of each output pixel of a depthwise task, and how many there are."""
    lanes, width = config.l << task.get("src_fold"), task.get("w_out")
    px, end = px - task.get("px_start"), task.get("px_end") - task.get("px_start")
    if task.get("stride") == 1:
        return px // lanes, -(-end // lanes)
    each = -(-width // (lanes // 2))
    return px // width * each + px % width // (lanes // 2), end // width * each


def read_after_start(task: Task, config: AcceleratorConfig, pixels: int, groups: int) -> Cycles:
    """``[pixel][channel group]`` of its source: at least so many cycles after its dispatch a task reads each word first."""
    px, cg = np.arange(pixels)[:, None], np.arange(groups)[None, :]
    tiles, depth, lanes = task.get("tiles"), task.get("depth"), config.l
    relative, step = cg - task.get("src_cg"), task.get("src_step")
    chunks = -(-task.get("px_end") // lanes)
    match task.opcode:
        case Opcode.PW | Opcode.QZ | Opcode.DIV:
            lp = 1 << task.get("lp")
            count = -(-(task.get("px_end") - task.get("px_start")) // lp)
            group, tile = (px - task.get("px_start")) // lp, relative // step if step else 0 * relative
            k = relative - tile * step
            when = ((group * tiles + tile) if task.get("pixel_outer") else (tile * count + group)) * depth + k
            reads = (group >= 0) & (group < count) & (tile >= 0) & (tile < tiles) & (k >= 0) & (k < depth)
        case Opcode.DW:
            radius = task.get("kernel") // 2
            stride = task.get("stride")
            # The first output pixel of the first segment that can need an input pixel.
            row = np.maximum(px // task.get("w_in") - radius, 0) // stride
            first = np.maximum(px - radius * (task.get("w_in") + 1), 0) if stride == 1 else row * task.get("w_out")
            segment, _ = _segment(task, config, np.clip(first, task.get("px_start"), task.get("px_end") - 1))
            when = segment * tiles * task.get("kernel") ** 2 + 0 * cg
            reads = relative >= 0
        case Opcode.KTV:
            value = cg - task.get("v_cg")
            k_when = ((relative // step * tiles + relative % step) * tiles) * chunks + px // lanes
            v_when = (value // step * tiles * tiles + value % step) * chunks + px // lanes
            is_k = (relative >= 0) & (relative // step < task.get("heads")) & (relative % step < tiles)
            is_v = (value >= 0) & (value // step < task.get("heads")) & (value % step < tiles)
            when = np.minimum(np.where(is_k, k_when, _NEVER), np.where(is_v, v_when, _NEVER))
            reads = is_k | is_v
        case Opcode.POOL:
            when, reads = relative * chunks + px // lanes, relative >= 0
        case _:
            when, reads = 0 * px + 0 * cg, px == px
    return np.where(reads, np.maximum(when, 0) + START, _NEVER)


def added_after_start(task: Task, config: AcceleratorConfig, pixels: int, groups: int) -> Cycles:
    """The same of the residual, which is read when a result is on its way."""
    group = (np.arange(pixels)[:, None] - task.get("px_start")) // (1 << task.get("lp"))
    inner = task.get("tiles") if task.get("pixel_outer") else 1
    when = group * inner * task.get("depth") + START + 0 * np.arange(groups)[None, :]
    return np.where((group >= 0) & (np.arange(pixels)[:, None] < task.get("px_end")), when, _NEVER)


class Proof:
    """What a pair of tasks allows; pairs come again with every picture."""

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        self.flights = {alone: flight(config, alone=alone) for alone in (False, True)}
        self.codes = Timing.of(config).written
        self._known: dict[tuple[object, ...], bool] = {}

    def can_follow(self, before: Task, task: Task, *, alone: bool) -> bool:
        """Whether ``task`` can start early behind the last task of an engine; the hardware knows no such start behind LN.

        ``alone``: from the dispatch of ``before`` on the other engine had no results on their way.
        """
        return task.unit in ENGINES and before.opcode is not Opcode.LN and self.harmless(before, task, alone=alone)

    def harmless(self, before: Task, task: Task, *, alone: bool = False) -> bool:
        """Whether ``task`` can start when ``before`` has issued its last beat."""
        key = (alone, before.opcode, tuple(before.fields.items()), task.opcode, tuple(task.fields.items()))
        if key not in self._known:
            self._known[key] = self._harmless(before, task, self.flights[alone])
        return self._known[key]

    def _harmless(self, before: Task, task: Task, latest: int) -> bool:
        config = self.config
        if before.opcode is Opcode.KTV and task.opcode in (Opcode.DIV, Opcode.QZ):
            return False
        if before.opcode is Opcode.DIV and task.opcode is Opcode.QZ and before.results(config) < self.codes:
            # Quotients come behind all divisors, and none sooner than its divisor: their number is the distance of both.
            return False
        if _adds(before) and before.get("res_src") == task.get("src"):
            # Residuals of results on their way are read where the task would read its source: from one port.
            return False
        written, added = _written(before, config), _residual(before, config)
        mine = _written(task, config)
        if any(a.meets(b) for a in added for b in mine):
            return False
        if before.layer != task.layer and any(a.meets(b) for a in written for b in mine):
            return False
        ages = None
        for reads, when in ((_reads_tensor, read_after_start), (_adds_tensor, added_after_start)):
            if reads(task, before):
                ages = issued_before_end(before, config) if ages is None else ages
                if (ages + when(task, config, *ages.shape)).min() < latest:
                    return False
        return True


def early_starts(tasks: tuple[Task, ...], config: AcceleratorConfig) -> tuple[Task, ...]:
    """The tasks with ``early`` set wherever what is still on its way is harmless to the task, and to those that come after it.

    What a task finds written in the given program is written in this one, too, or harmless to it. Where it does not wait for an
    engine of whose earlier tasks it needs the results, ``past`` has it wait for those.
    """
    proof = Proof(config)
    early: list[tuple[Unit, Unit]] = []
    refused: set[tuple[int, Unit]] = set()
    # For each engine: its tasks; how many of them have ended when a task starts, as given and as made; who waited for them last.
    queues: dict[Unit, list[Task]] = {unit: [] for unit in ENGINES}
    # For each of these tasks how many the other engine had when all of the other's results had been written at its dispatch.
    beside: dict[Unit, list[int | None]] = {unit: [] for unit in ENGINES}
    given, made, waited = dict.fromkeys(ENGINES, 0), dict.fromkeys(ENGINES, 0), dict.fromkeys(ENGINES, 0)
    history = []
    index = 0
    while index < len(tasks):
        task = tasks[index]
        lengths = {unit: len(queue) for unit, queue in queues.items()}
        history[index:] = [(lengths, dict(given), dict(made), dict(waited))]
        needs, own, past = task.wait | _units(task), NONE, NONE
        culprit = None
        for unit in ENGINES:
            queue = queues[unit]
            if unit & needs:
                given[unit], made[unit], waited[unit] = len(queue), len(queue), index
                alone = bool(queue) and beside[unit][-1] == lengths[_OTHER[unit]]
                if queue and (index, unit) not in refused and proof.can_follow(queue[-1], task, alone=alone):
                    own |= unit
                    made[unit] -= 1
            elif not all(proof.harmless(before, task) for before in queue[made[unit] : given[unit]]):
                if given[unit] < len(queue):
                    past |= unit
                    made[unit] = len(queue) - 1
                else:
                    culprit = (waited[unit], unit)
        if culprit is not None:
            # It relies on a task before it, which therefore has to wait: go on from there.
            refused.add(culprit)
            index = culprit[0]
            lengths, given, made, waited = (dict(state) for state in history[index])
            for unit, queue in queues.items():
                del queue[lengths[unit] :], beside[unit][lengths[unit] :]
            del early[index:]
            continue
        early.append((own, past))
        for unit in ENGINES:
            if unit & _units(task):
                other = _OTHER[unit]
                beside[unit].append(lengths[other] if made[other] == lengths[other] and not other & _units(task) else None)
                queues[unit].append(task)
        index += 1
    return tuple(
        replace(task, fields={**task.fields, "early": int(own), "past": int(past)}) if own | past else task
        for task, (own, past) in zip(tasks, early, strict=True)
    )
