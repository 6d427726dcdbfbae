"""Which bound a point hits: every cycle of a prediction charged to what it was needed for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hw.compiler.tasks import ALL, Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import Opcode, Unit
from hw.io.loader import Loader
from sim.cycles.model import Prediction

#: The bounds, in the order in which cycles are charged to them.
MULTIPLIERS = "multipliers"
MAT_LANES, DEPTHWISE_LANES, RMAC_LANES = "MAT lanes", "depthwise lanes", "R-MAC lanes"
POST, LOAD, PORT, LATENCY = "post-processing", "LOAD", "read port", "latency"
BOUNDS = (MULTIPLIERS, MAT_LANES, DEPTHWISE_LANES, RMAC_LANES, POST, LOAD, PORT, LATENCY)


@dataclass(frozen=True)
class Step:
    """Tasks between two points in time at which every unit is idle, and the cycles from the one to the other."""

    tasks: tuple[Task, ...]
    cycles: int


def steps(prediction: Prediction) -> Iterator[Step]:
    """The prediction cut before every task that waits for all units; the steps' cycles add up to the prediction's.

    LOAD of the next picture may be under way beside such a task.
    """
    times = prediction.tasks
    firsts = [index for index, time in enumerate(times) if index == 0 or ALL & ~Unit.LOAD in time.task.wait]
    begins = [0, *(times[index].start for index in firsts[1:]), prediction.cycles]
    for (first, last), (begin, end) in zip(pairwise([*firsts, len(times)]), pairwise(begins), strict=True):
        yield Step(tuple(time.task for time in times[first:last]), end - begin)


def floors(tasks: Sequence[Task], config: AcceleratorConfig) -> dict[str, int]:
    """The cycles that a step cannot do without, were each resource the only one: by bound, in the order of `BOUNDS`.

    * `MULTIPLIERS`: the network's products, all multipliers at work.
    * lanes: the beats of the engine that has more of them. What they are more than the products is lanes without work: channels
      and pixels rounded up to the array's, half of the depthwise lanes at stride 2, one engine idle while the other works.
    * `POST`: a result a cycle.
    * `LOAD`: the words of the unfolded picture, a write a cycle.
    * `PORT`: beats of weights, parameters and the picture.
    """
    work = dict.fromkeys((Unit.MAT, Unit.RMAC), 0)
    results = load = port = 0
    for task in tasks:
        for unit in work:
            if task.unit is unit or (task.joint and unit is Unit.RMAC):
                work[unit] += task.beats(config)
                results += task.results(config)
        port += sum(packet.beats(config) for packet in task.packets)
        if task.opcode is Opcode.LOAD:
            width = task.get("w_out")
            load += task.get("px_end") // width * Loader.writes(config, width)
            port += -(-3 * task.get("w_in") * task.get("h_in") // config.beat_bytes)
    lanes = MAT_LANES if work[Unit.MAT] >= work[Unit.RMAC] else RMAC_LANES
    if lanes == RMAC_LANES and any(task.opcode is Opcode.DW for task in tasks):
        lanes = DEPTHWISE_LANES
    products = -(-sum(task.macs for task in tasks) // config.multipliers)
    return {MULTIPLIERS: products, lanes: max(work.values()), POST: results, LOAD: load, PORT: port}


def charged(step: Step, config: AcceleratorConfig) -> dict[str, int]:
    """The step's cycles by bound: each bound has what its floor adds to those before it, `LATENCY` what is above all floors.

    Weights may have been read during the step before; then a floor is higher than the step is long, and ends with it.
    """
    shares, level = {}, 0
    for bound, floor in floors(step.tasks, config).items():
        reached = max(level, min(floor, step.cycles))
        shares[bound] = reached - level
        level = reached
    return {**shares, LATENCY: step.cycles - level}


def bounds(prediction: Prediction, config: AcceleratorConfig) -> dict[str, int]:
    """All cycles of a prediction by bound, in the order of `BOUNDS`; they add up to ``prediction.cycles``."""
    total = dict.fromkeys(BOUNDS, 0)
    for step in steps(prediction):
        for bound, cycles in charged(step, config).items():
            total[bound] += cycles
    return total


def hit(shares: dict[str, int]) -> str:
    """The bound with most cycles; of two with as many, the earlier one."""
    return max(shares, key=lambda bound: shares[bound])
