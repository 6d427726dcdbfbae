"""Predicts when each task runs: dispatch, engines, the inter-layer and attention pipelines, and the weight stream."""

from bisect import bisect_left
from dataclasses import dataclass, replace

from hw.axi.looped_reader import LoopedReader
from hw.compiler.packets import PARAMS, WEIGHTS
from hw.compiler.program import Program
from hw.compiler.tasks import Task
from hw.control.descriptor import Opcode, Unit
from hw.interfaces import LN_WORDS
from hw.timing import DISPATCH, IDLE, OPEN, QUEUE, START, Timing
from hw.top import WEIGHT_BURSTS
from sim.cycles.bus import Loading, read_ahead
from sim.cycles.stream import WeightStream


@dataclass(frozen=True)
class Memory:
    """What the model knows of the memory beyond the port: cycles from a request to its first beat."""

    latency: int = 20


@dataclass(frozen=True)
class TaskTime:
    """When a task was dispatched, when its unit became idle or took another one, and the cycles in which beats were issued."""

    task: Task
    start: int
    end: int
    work: int


@dataclass(frozen=True)
class Prediction:
    """All tasks in time; ``cycles`` runs from the start to END."""

    tasks: tuple[TaskTime, ...]
    cycles: int
    weight_beats: int

    def layers(self, picture: int = 0) -> dict[str, tuple[int, int]]:
        """First dispatch and last end of each layer for one picture, or for all of a run at once; STORE is nobody's.

        Where a unit's next task starts before its results have been written, its end is that start.
        """
        spans: dict[str, tuple[int, int]] = {}
        for time in self.tasks:
            if time.task.opcode is Opcode.STORE or time.task.picture not in (None, picture):
                continue
            start, end = spans.get(time.task.layer, (time.start, time.end))
            spans[time.task.layer] = (min(start, time.start), max(end, time.end))
        return spans

    @property
    def macs(self) -> int:
        """Products of the network."""
        return sum(time.task.macs for time in self.tasks)


class _Run:
    """One walk through a program."""

    def __init__(self, program: Program, memory: Memory):
        self.program = program
        self.config = program.config
        self.memory = memory
        self.timing = Timing.of(program.config)
        self.stream = WeightStream(
            program.config,
            memory.latency + STREAM_START,
            program.repeated,
            program.batch.pictures,
            memory.latency + LoopedReader.pause,
        )
        self.idle = dict.fromkeys(Unit, 0)
        # From when on a task can start early: the last one has issued everything, the results of the one before are written.
        self.open = dict.fromkeys(Unit, 0)
        # When the tasks before the last one have ended.
        self.past = dict.fromkeys(Unit, 0)
        # Completed pixels of the last DW task, and when they can be read; when each segment's sets were issued.
        self.progress: list[tuple[int, int]] = []
        self.issued_sets: list[list[int]] = []
        # The last LOAD, and its place among the tasks while its end is not known.
        self.loading: Loading | None = None
        self.unfinished: int | None = None
        # When R-MAC's lanes are those of the next DW task.
        self.lanes_free = 0
        # When post-processing has had all results of the last DW task, were it never idle from its first beat on.
        self.depthwise_results = 0
        self.dispatched = memory.latency + FETCH - DISPATCH

    def go(self) -> Prediction:
        times: list[TaskTime] = []
        latest: dict[Unit, int] = {}
        for task in self.program.tasks:
            needs = task.wait | task.unit | (Unit.RMAC if task.joint else Unit(0))
            if needs & Unit.LOAD:
                self._end_load(times)
            early = Unit(task.get("early"))
            free = (self.open[unit] if unit & early else self.idle[unit] for unit in Unit if unit & needs)
            past = (self.past[unit] for unit in Unit if unit & Unit(task.get("past")))
            checked = self.dispatched + DISPATCH
            start = max([checked, *free, *past])
            self.dispatched = start
            issued, end, work = self._run(task, start, checked)
            units = (task.unit, Unit.RMAC) if task.joint else (task.unit,)
            for last in (latest[unit] for unit in units if unit in latest):
                times[last] = replace(times[last], end=min(times[last].end, start))
            latest[task.unit] = len(times)
            for unit in units:
                self.past[unit] = self.idle[unit]
                self.open[unit] = max(issued + OPEN, self.past[unit])
                self.idle[unit] = end
            times.append(TaskTime(task, start, end, work))
            if task.opcode is Opcode.LOAD:
                self.unfinished = len(times) - 1
        self._end_load(times)
        cycles = max(self.dispatched + DISPATCH, *self.idle.values())
        return Prediction(tuple(times), cycles, self.stream.beats)

    def _end_load(self, times: list[TaskTime]) -> None:
        """Note the end of LOAD, which may have waited for the stem: it is not known before the stem has been walked through."""
        if self.unfinished is not None and self.loading is not None:
            self.idle[Unit.LOAD] = self.loading.end
            times[self.unfinished] = replace(times[self.unfinished], end=self.loading.end)
            self.unfinished = None

    def _run(self, task: Task, start: int, checked: int) -> tuple[int, int, int]:
        """When the last beat was issued, when the unit is idle, and the beats; the task has waited since ``checked``."""
        match task.opcode:
            case Opcode.LOAD:
                self._load(task, start)
                return start, start, 0
            case Opcode.STORE:
                end = start + self._store(task)
                return end, end, 0
            case Opcode.PW if task.get("pixel_outer"):
                last = self._pixel_outer(task, start + START)
            case Opcode.PW:
                last = self._tile_outer(task, start + START)
            case Opcode.QZ | Opcode.DIV:
                last = self._plain(task, start + START, "mat")
            case Opcode.LN:
                return self._layer_norm(task, start + START)
            case Opcode.DW:
                prepared = max(checked, self.lanes_free) + (self.timing.dw_setup << task.get("src_fold"))
                return self._depthwise(task, max(start, prepared) + START)
            case _:
                return self._head(task, start + START)
        # Of two results that arrive at once, R-MAC's is taken first and MAT's a cycle later.
        return last, last + self.timing.mat_written + IDLE + task.joint, task.beats(self.config)

    def _engines(self, task: Task) -> tuple[str, ...]:
        return ("mat", "rmac") if task.joint else ("mat",)

    def _tile_outer(self, task: Task, now: int) -> int:
        """Issue times of a PW task whose tiles are the outer loop; returns that of the last beat."""
        depth, engines = task.get("depth"), self._engines(task)
        groups = -(-(task.get("px_end") - task.get("px_start")) // (1 << task.get("lp")))
        per_tile = len(task.packets) // task.get("tiles")
        interval = max(depth, len(engines))
        now -= 1
        for tile in range(task.get("tiles")):
            firsts = {engine: len(self.stream.rings[WEIGHTS[engine]].arrived) for engine in engines}
            for packet in task.packets[tile * per_tile : (tile + 1) * per_tile]:
                self.stream.deliver(packet)
            for k in range(depth):
                now = max([now + 1, *(self.stream.rings[WEIGHTS[engine]].arrived[firsts[engine] + k] for engine in engines)])
            now = max([now, *(self.stream.rings[PARAMS[engine]].arrived[-1] for engine in engines)])
            now += interval * (groups - 1)
            for engine in engines:
                self.stream.rings[WEIGHTS[engine]].release(depth, now + self.timing.ring)
        self._release_params(task, task.get("tiles"), now)
        return now

    def _pixel_outer(self, task: Task, now: int) -> int:
        """The same with pixels as the outer loop, behind the progress of DW or LOAD where gated."""
        depth, tiles, lp, engines = task.get("depth"), task.get("tiles"), 1 << task.get("lp"), self._engines(task)
        rings = [self.stream.rings[WEIGHTS[engine]] for engine in engines]
        params = [self.stream.rings[PARAMS[engine]] for engine in engines]
        rows, entries = [len(ring.arrived) for ring in rings], [len(ring.arrived) for ring in params]
        for packet in task.packets:
            self.stream.deliver(packet)
        end = task.get("px_end")
        loading = self.loading if task.get("behind_load") else None
        now -= 1
        for index, px in enumerate(range(task.get("px_start"), end, lp)):
            need, segment = min(px + lp, end), None
            if loading is not None:
                now = max(now, loading.readable(need) - 1)
            elif task.get("gated"):
                segment = bisect_left(self.progress, (need, 0))
            if index and (segment is None or self.progress[segment][1] <= now + 1):
                now += tiles * max(depth, len(engines))
            else:
                for tile in range(tiles):
                    for k in range(depth):
                        if segment is not None:
                            now = max(now, self._readable(segment, task.get("src_cg") + tile * task.get("src_step") + k) - 1)
                        now += 1
                        if not index:
                            now = max(now, *(ring.arrived[row + tile * depth + k] for ring, row in zip(rings, rows, strict=True)))
                    if not index:
                        now = max(now, *(ring.arrived[entry + tile] for ring, entry in zip(params, entries, strict=True)))
            if loading is not None:
                loading.consume(need, now)
        if task.get("gated") and not task.get("behind_load"):
            # Post-processing takes a result a cycle, of either engine.
            now = max(now, self.depthwise_results + len(engines) * task.results(self.config))
        for ring in rings:
            ring.release(tiles * depth, now + self.timing.ring)
        self._release_params(task, tiles, now)
        return now

    def _readable(self, segment: int, group: int) -> int:
        """When MAT can read a channel group of a depthwise segment's pixels: when it is complete, or all of the segment is."""
        complete, sets, wide = self.progress[segment][1], self.issued_sets[segment], self.config.wide
        if not sets:
            return complete
        return min(complete, sets[group // wide] + self.timing.dw_result + group % wide + self.timing.written + 1)

    def _plain(self, task: Task, now: int, engine: str) -> int:
        """A task without weights: every beat in turn."""
        ring = self.stream.rings[PARAMS[engine]]
        for packet in task.packets:
            self.stream.deliver(packet)
        last = now + task.beats(self.config) - 1
        if task.packets:
            last = max(last, ring.arrived[-1])
            self._release_params(task, task.packets[0].rows, last)
        return last

    def _release_params(self, task: Task, rows: int, last: int) -> None:
        done = last + self.timing.mat_written + 1
        for engine in self._engines(task):
            self.stream.rings[PARAMS[engine]].release(rows, done)

    def _layer_norm(self, task: Task, now: int) -> tuple[int, int, int]:
        """Phases of a first pass and a second one; the last beat of each waits for the deviation of the phase before."""
        depth, lanes, vectors = task.get("depth"), self.config.l, task.get("px_end") - task.get("px_start")
        weights, params = self.stream.rings[WEIGHTS["mat"]], self.stream.rings[PARAMS["mat"]]
        first_weights, first_params = len(weights.arrived), len(params.arrived)
        for packet in task.packets:
            self.stream.deliver(packet)
        # Results are issued one a beat, while the queue has room: until then, that of some results before must have been taken.
        issued: list[int] = []
        room, taken = self.config.result_depth, self.timing.ln_result + QUEUE + 1
        now, known = now - 1, 0
        for phase in range(vectors + 2):
            sums, norms = phase < vectors, phase >= 2
            for k in range(depth) if sums or norms else [depth - 1]:
                now += 1
                if norms:
                    now = max(now, weights.arrived[first_weights + k // lanes], params.arrived[first_params + k // LN_WORDS])
                    if len(issued) >= room:
                        now = max(now, issued[-room] + taken)
                if k == depth - 1:
                    now = max(now, known)
                if norms:
                    issued.append(now)
            if sums:
                known = now + self.timing.ln_turn
        end = now + self.timing.ln_result + self.timing.written + IDLE
        weights.release(-(-depth // lanes), now + self.timing.ring)
        params.release(-(-depth // LN_WORDS), end - 1)
        return now, end, task.beats(self.config)

    def _depthwise(self, task: Task, now: int) -> tuple[int, int, int]:
        """R-MAC's segments; remembers when the pixels of each can be read."""
        config, timing = self.config, self.timing
        weights, params = self.stream.rings[WEIGHTS["rmac"]], self.stream.rings[PARAMS["rmac"]]
        first, first_param = len(weights.arrived), len(params.arrived)
        for packet in task.packets:
            self.stream.deliver(packet)
        taps, sets = task.get("kernel") ** 2, task.get("tiles")
        groups = task.get("dst_cg_end") - task.get("dst_cg")
        rows, param_rows = -(-taps // config.taps_per_row), task.packets[0].rows
        self.depthwise_results = now + task.results(config)
        now -= 1
        self.progress, self.issued_sets = [], []
        last_steps = config.wide if task.get("src_fold") else groups - (sets - 1) * config.wide
        for segment, pixels in enumerate(self._segments(task)):
            issued = [now + taps * (index + 1) for index in range(sets)]
            if segment:
                now = issued[-1]
            else:
                for index in range(sets):
                    for tap in range(taps):
                        now = max(now + 1, weights.arrived[first + index * rows + tap // config.taps_per_row])
                    now = max(now, params.arrived[first_param + min((index + 1) * config.wide, param_rows) - 1])
                    issued[index] = now
            self.issued_sets.append([] if task.get("src_fold") else issued)
            self.progress.append((pixels, now + timing.dw_result + last_steps - 1 + timing.written + 1))
        self.lanes_free = now + 1
        weights.release(rows * sets, now + timing.ring)
        pushed = now + timing.dw_result + last_steps - 1
        end = pushed + timing.written + IDLE
        params.release(param_rows, end - 1)
        return pushed, end, task.beats(config)

    def _segments(self, task: Task) -> list[int]:
        """Completed pixels after each segment."""
        start, end, width = task.get("px_start"), task.get("px_end"), task.get("w_out")
        lanes = self.config.l << task.get("src_fold")
        if task.get("stride") == 1:
            return [min(done, end) for done in range(start + lanes, end + lanes, lanes)]
        half = lanes // 2
        return [row + min(done, width) for row in range(start, end, width) for done in range(half, width + half, half)]

    def _head(self, task: Task, now: int) -> tuple[int, int, int]:
        timing = self.timing
        ring = self.stream.rings[PARAMS["rmac"]]
        for packet in task.packets:
            self.stream.deliver(packet)
        rows = sum(packet.rows for packet in task.packets)
        pool = task.opcode is Opcode.POOL
        # After a K group's first pass there is a pause, which the last group's only has when other passes follow it.
        beats = task.beats(self.config) - (0 if pool or task.get("tiles") > 1 else 1)
        last = max(now + beats - 1, ring.arrived[-1])
        result = timing.pool_result if pool else timing.ktv_result
        if task.opcode is Opcode.KTV and task.get("tiles") == 1:
            # The row sums come last, and wait where Z has their cycle.
            result = max(result, timing.pool_result + (timing.pool_result == timing.ktv_result))
        end = last + result + timing.written + IDLE
        ring.release(rows, end - 1)
        return last + result, end, task.beats(self.config)

    def _load(self, task: Task, start: int) -> None:
        latency = self.memory.latency
        if task.picture:
            # Rings are full: the weights that compete for the port are those that the reader takes ahead of them.
            weights = (0, WEIGHT_BURSTS * self.config.axi_burst)
            self.loading = Loading(task, self.config, latency, 0, weights, start)
        else:
            self.loading = Loading(task, self.config, latency, start, read_ahead(list(self.program.packets), self.config))

    def _store(self, task: Task) -> int:
        beats = self.program.output_bytes // self.config.beat_bytes
        return STORE_START + self.memory.latency + beats


#: Cycles from the start to the first descriptor's dispatch and to the first beat of weights, beyond the memory's latency.
FETCH = 12
STREAM_START = 6
#: Cycles of STORE beyond the memory's latency and its beats.
STORE_START = 20


def summary(program: Program) -> dict[str, object]:
    """What a manifest says of a program's cycles."""
    prediction = predict(program)
    return {
        "cycles": prediction.cycles,
        "pictures": program.batch.pictures,
        "macs": prediction.macs,
        "utilization": round(prediction.macs / (prediction.cycles * program.config.multipliers), 4),
        "layers": {layer: end - start for layer, (start, end) in prediction.layers().items()},
    }


def predict(program: Program, memory: Memory | None = None) -> Prediction:
    """When everything happens if the memory answers after ``memory.latency`` cycles and then gives a beat a cycle."""
    return _Run(program, memory or Memory()).go()
