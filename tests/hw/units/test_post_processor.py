"""The post-processor as a whole: two engines that compete for it, against a model made of the golden arithmetic."""

import random
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
import pytest

from hw.config import TOY
from hw.control.descriptor import Act, Buffer, Opcode
from hw.interfaces import LN_WORDS, PIXEL_BITS, POST_TASK
from hw.units.post_processor import PostProcessor
from hw.units.post_schedule import Schedule
from quant.contract import ACC_BITS, CODE_BITS, CODE_WIDTHS, FRACTION_BITS, LOW_BITS, QUOTIENT_SHIFT, RECIPROCALS, SUM_BITS
from sim.golden import arithmetic
from tests.hw.units.drive import plain, simulate
from tests.support.configs import FOUR_BY_EIGHT

EIGHT = TOY.with_(name="eight", n=8, m=8, t=8, s=8, l=8)
PARAM_LATENCY = 2
MAT, RMAC = "mat", "rmac"
#: What a layer's own second step may be.
LAYER_ACTS = (Act.NONE, Act.HARDSWISH, Act.RESIDUAL)


@dataclass
class Phase:
    """One task of an engine: its descriptor fields, its rows of parameters and its results."""

    task: dict
    params: list = field(default_factory=list)
    results: list = field(default_factory=list)


class Workload:
    """Random tasks for one engine, and what must come out."""

    def __init__(self, config, seed):
        self.config = config
        self.rng = np.random.default_rng(seed)
        self.lanes, self.size = config.l, config.m
        self.full_split = config.l.bit_length() - 1

    def integer(self, low, high):
        return int(self.rng.integers(low, high))

    def task(self, **fixed):
        act = fixed.pop("act", LAYER_ACTS[self.integer(0, 3)])
        split = self.integer(0, self.full_split + 1)
        return {
            "tag": self.integer(0, 1 << 16), "dst_base": self.integer(0, 1 << 14), "dst_rows": self.integer(0, 1 << 14),
            "dst_cg_end": self.integer(1, 12), "dst2_on": self.integer(0, 2), "dst2": Buffer(self.integer(0, 4)),
            "dst2_base": self.integer(0, 1 << 14), "lp": split,
            "z_row": self.integer(0, self.config.z_rows // 2), "tiles": self.integer(1, 8), "act": act,
            "out_shift": self.integer(0, 2 if act is Act.NONE else 16),
            "res_src": Buffer(self.integer(0, 2)), "res_base": self.integer(0, 1 << 14), "res_skew": self.integer(0, 4),
            "res_rows": self.integer(0, 1 << 14), "res_ring": self.integer(0, 16), "dst_ring": self.integer(0, 16),
            "dst2_cg_end": self.integer(1, 12),
            "res_zero": self.integer(-128, 128),
            "use_code": 0, "logits": 0, "wide": 0, "dst_fold": self.integer(0, 3), **fixed,
        }

    def param(self):
        shift = self.integer(0, 48) if self.integer(0, 4) == 0 else self.integer(14, 26)
        return {
            "bias": self.integer(-1000, 1000), "mult": self.integer(0, 1 << 16), "shift": shift,
            "three": self.integer(0, 1 << self.integer(1, 15)), "zero": self.integer(-60, 60),
        }

    def accumulators(self):
        limit = 1 << (ACC_BITS - 1)
        scale = 1 << self.integer(4, ACC_BITS)
        acc = self.rng.integers(-scale, scale, (self.lanes, self.size))
        return np.clip(acc, -limit + 1000, limit - 1001)

    def phase(self, count, rows=4, **fixed):
        phase = Phase(self.task(**fixed))
        phase.params = [[[self.param() for _ in range(self.size)] for _ in range(self.lanes)] for _ in range(rows)]
        entries = rows * LN_WORDS if phase.task["opcode"] is Opcode.LN else rows
        for index in range(count):
            split = phase.task["lp"]
            phase.results.append({
                "acc": self.accumulators(), "mask": self.integer(0, 1 << self.lanes),
                "px": self.integer(0, 64 >> split) << split, "cg": self.integer(0, 14), "entry": self.integer(0, entries),
                "row_sum": 0, "seg_last": self.integer(0, 2),
                "progress": (index + 1 + self.integer(0, 1 << (PIXEL_BITS - 2))) * (phase.task["opcode"] is Opcode.DW),
            })
        return phase

    def division(self, count, code_bits, wide):
        """DIV of some rows of the divisor buffer, head by head, then QZ of the pixels in them."""
        act, shift = (Act.QUOTIENT, QUOTIENT_SHIFT) if code_bits > CODE_BITS else (Act.NONE, 0)
        words = 2 * self.lanes
        rows = self.integer(1, self.config.divisor_rows // words + 1)
        divide = self.phase(count, rows=2, opcode=Opcode.DIV, dst=Buffer.DIV, act=act, lp=self.full_split, dst_rows=rows)
        for row in divide.params:
            # The smallest exponent is the head's: its word's channels are alike, and all but the shift count for nothing.
            row[:] = [[channel | {"shift": shift} for channel in word] for word in row for shift in [self.integer(5, 15)]]
        places = []
        for result in divide.results:
            result["px"] = self.integer(0, rows) * self.lanes
            result["acc"] = self.rng.integers(0, 1 << self.integer(1, 14), (self.lanes, self.size))
            if self.integer(0, 4) == 0:
                result["acc"][0, :2] = 0
            places += [(result["entry"], px) for px in range(result["px"], result["px"] + self.lanes)]
        layer = {"act": act, "out_shift": shift, "use_code": 1, "wide": wide}
        quotient = self.phase(2 * count, rows=2, opcode=Opcode.QZ, dst=Buffer.D, dst_rows=rows, **layer)
        for result in quotient.results:
            entry, px = places[self.integer(0, len(places))]
            result |= {"entry": entry, "px": px >> quotient.task["lp"] << quotient.task["lp"]}
            if wide:
                # Sums over upper parts are as much smaller as their weight is larger.
                result["acc"][: self.lanes // 2] >>= LOW_BITS + 1
                result["acc"][self.lanes // 2 :] >>= 2
        return [divide, quotient]

    def attention(self, count, wide):
        """KTV: Z and Ksum."""
        phase = self.phase(count, opcode=Opcode.KTV, dst=Buffer.Z, act=Act.NONE, out_shift=0, rows=2, wide=wide)
        for result in phase.results:
            row, group = self.integer(0, self.config.z_rows // 2), self.integer(0, self.config.max_groups)
            result |= {"px": row, "cg": group, "row_sum": self.integer(0, 2)}
            # Sums over both halves of the pixels fit, too.
            result["acc"] >>= 1
        return phase


class Model:
    """The contract, and the divisor buffer that it needs to know."""

    def __init__(self, config):
        self.config = config
        #: By place in the divisor buffer: row times ``l`` plus the pixel in it.
        self.codes = {}

    def residual(self, source, base, rows, skew, spread, px, cg):
        """Some content of the residual's tensor."""
        seed = hash((int(source), base, rows, skew, spread, px, cg)) & 0xFFFFFFFF
        return np.random.default_rng(seed).integers(-128, 128, (self.config.l, self.config.m))

    def params(self, phase, result):
        """The parameters of each slot: those of its place in a row; LN's slot 0 has either half's first word."""
        if phase.task["opcode"] is Opcode.LN:
            row, word = divmod(result["entry"], LN_WORDS)
            slots = phase.params[row]
            return [slots[word * self.config.l // LN_WORDS], *slots[1:]]
        return phase.params[result["entry"]]

    def place(self, task, result):
        """Place of slot 0's pixel in the divisor buffer: a head has ``dst_rows`` rows of ``l`` pixels."""
        return result["entry"] * task["dst_rows"] * self.config.l + result["px"]

    def joined(self, task, result):
        """The accumulators with the sums over both parts of a number or both halves of the pixels where that of one was."""
        acc, half = result["acc"].copy(), self.config.l // 2
        if task["dst"] is Buffer.DIV:
            acc[:, 0] = (acc[:, 0] << LOW_BITS) + acc[:, 1]
        elif task["opcode"] is Opcode.QZ and task["wide"]:
            acc[:half] = (acc[:half] << LOW_BITS) + acc[half:]
        elif task["opcode"] is Opcode.KTV and not result["row_sum"] and self.config.l > self.config.m:
            acc[: self.config.m] += acc[half : half + self.config.m]
        return acc

    def expected(self, phase, result):
        """All that the ports say when ``result`` is written."""
        task, lanes, size = phase.task, self.config.l, self.config.m
        split = task["lp"]
        params = [p for slot in self.params(phase, result) for p in slot]
        columns = {name: np.array([p[name] for p in params]) for name in params[0]}
        joined = self.joined(task, result)
        acc = joined.reshape(1, -1)
        act = {Act.HARDSWISH: "hardswish"}.get(task["act"], "none")
        codes = [self.codes.get(self.place(task, result) + i % (1 << split), 0) if task["use_code"] else 0 for i in range(lanes)]
        fine = task["act"] is Act.QUOTIENT
        code = np.repeat(np.array(codes), size)[None]
        gate = np.array(RECIPROCALS)[code & (1 << FRACTION_BITS) - 1] if fine and task["use_code"] else None
        code = code >> FRACTION_BITS if fine else code
        residual = res_zero = None
        if task["act"] is Act.RESIDUAL:
            spread = lanes.bit_length() - 1 - split
            tensor = (task["res_src"].value, task["res_base"], task["res_rows"], task["res_skew"])
            residual = self.residual(*tensor, spread, result["px"], result["cg"]).reshape(1, -1)
            res_zero = task["res_zero"]
        t = arithmetic.post_process(acc, arithmetic.PostParameters(**columns, logits=True), code=code).reshape(lanes, size)
        post = arithmetic.PostParameters(**columns, act=act, out_shift=task["out_shift"], res_zero=res_zero)
        q = arithmetic.post_process(acc, post, residual=residual, code=code, gate=gate).reshape(lanes, size)
        dst = task["dst"]
        ordinary = dst not in (Buffer.Z, Buffer.DIV)
        mask = result["mask"]
        if ordinary:
            mask &= sum((result["cg"] + (i >> split) < task["dst_cg_end"]) << i for i in range(lanes))
            if task["opcode"] is Opcode.QZ and task["wide"]:
                mask &= (1 << lanes // 2) - 1
        words = wide = t if task["logits"] else q
        in_parts = result["row_sum"] or (dst is Buffer.Z and task["wide"])
        if in_parts:
            # Of the slots that the Z buffer has a row for.
            words = np.concatenate([arithmetic.sat(t[:size], SUM_BITS), q[size:]])
        if dst is Buffer.DIV:
            words = np.zeros(q.shape, np.int64)
            smallest = np.array([slot[0]["shift"] for slot in self.params(phase, result)])
            words[:, 0] = arithmetic.log2_code(joined[:, 0], smallest, CODE_WIDTHS[fine])
            self.codes |= {self.place(task, result) + i: int(words[i, 0]) for i in range(lanes)}
        out = {
            "write.valid": ordinary,
            "write2.valid": ordinary and task["dst2_on"] and result["cg"] < task["dst2_cg_end"],
            "z_write.valid": dst is Buffer.Z,
            "trace_valid": 1, "trace_tag": task["tag"], "trace_dst": dst.value, "trace_px": result["px"],
            "trace_cg": result["cg"], "trace_mask": mask, "trace_split": split, "trace_row_sum": result["row_sum"],
            "trace_words": words.tolist(),
        }
        if ordinary:
            out |= {
                "write.payload": {"mask": mask, "px": result["px"], "cg": result["cg"], "split": split, "base": task["dst_base"],
                                  "rows": task["dst_rows"], "fold": task["dst_fold"], "ring": task["dst_ring"],
                                  "words": wide.astype(np.int8).tolist()},
                "write_dst": dst.value, "write_upper": (wide >> 8).tolist(),
            }
            if task["dst2_on"]:
                out |= {"write2.base": task["dst2_base"], "write2_dst": task["dst2"].value}
        if dst is Buffer.Z:
            out |= {
                "z_write.row": task["z_row"] + result["px"], "z_write.j": result["cg"],
                "z_write.ksum": result["row_sum"],
                "z_write.rows": (words[:size] >> LOW_BITS if in_parts else q[:size]).tolist(),
            }
            if in_parts:
                out["z_write.rows_low"] = (words[:size] & ((1 << LOW_BITS) - 1)).tolist()
        return out


class Engine:
    """Plays the phases of one engine.

    The next task starts when all results of the last one have retired, or in half of the cases where its results do not matter,
    when all have been taken and those of the task before that one have retired.
    """

    def __init__(self, dut, name, phases, rng, eagerness):
        self.dut, self.name, self.rng, self.eagerness = dut, name, rng, eagerness
        self.phases = deque(phases)
        self.phase = None
        self.offered = None
        self.waiting = deque()
        self.turn, self.early = 1, 0
        self.in_flight = {}
        self.looking = None

    @property
    def stream(self):
        return getattr(self.dut, self.name)

    @property
    def done(self):
        return not self.phases and self.phase is None

    def _can_start(self):
        if not self.phases or self.waiting or self.offered is not None:
            return False
        flying = [count for phase, count in self.in_flight.items() if count and phase != id(self.phase)]
        free = self.phase is None or (not self.phases[0].task["use_code"] and self.rng.random() < 0.5)
        self.early += bool(free and self.phase is not None and self.in_flight.get(id(self.phase)))
        return free and not flying

    def drive(self, ctx):
        """Set this cycle's task and result; true in the first cycle of a task."""
        started = False
        if self._can_start():
            self.phase = self.phases.popleft()
            self.turn ^= 1
            self.waiting = deque(self.phase.results)
            raw = {name: value for name, value in self.phase.task.items() if name in dict(POST_TASK)}
            ctx.set(getattr(self.dut, f"{self.name}_tasks")[self.turn], raw | {"res_zero": raw["res_zero"] & 0xFF})
            started = True
        elif self.offered is None and self.waiting and self.rng.random() < self.eagerness:
            self.offered = self.waiting.popleft()
            self.offered["turn"] = self.turn
            ctx.set(self.stream.payload, self.offered | {"acc": self.offered["acc"].tolist()})
        ctx.set(self.stream.valid, self.offered is not None)
        return started

    def taken(self):
        """The result that the post-processor has taken in this cycle."""
        result, self.offered = self.offered, None
        self.in_flight[id(self.phase)] = self.in_flight.get(id(self.phase), 0) + 1
        self.looking = self.phase
        return result

    def retire(self, phase):
        self.in_flight[id(phase)] -= 1

    def finish(self):
        """End the task once nothing of it is left."""
        if self.phase is not None and not self.waiting and self.offered is None and not any(self.in_flight.values()):
            self.phase = None


def sample(ctx, dut, path):
    """The value of a port by its dotted name, as plain Python."""
    value = dut
    for part in path.split("."):
        value = getattr(value, part)
    value = ctx.get(value)
    if path == "write.payload":
        return {name: plain(value[name]) for name, _ in value.shape()}
    return value.value if isinstance(value, Buffer) else plain(value)


def check(config, buffer_read_latency, buffer_write_latency, mat_phases, rmac_phases, *, eagerness=0.7, seed=0):
    """Run both engines' phases to their end and compare every cycle; returns how often what happened."""
    dut = PostProcessor(config, buffer_read_latency, param_latency=PARAM_LATENCY, buffer_write_latency=buffer_write_latency)
    rng = random.Random(seed)
    model = Model(config)
    engines = {MAT: Engine(dut, MAT, mat_phases, rng, eagerness), RMAC: Engine(dut, RMAC, rmac_phases, rng, eagerness)}
    seen = Counter()

    async def testbench(ctx):
        in_flight, retiring, params, residuals = deque(), deque(), {}, {}
        progress, begun, followed, last = 0, (0, 0), None, None
        for cycle in range(20000):
            started = {name: engine.drive(ctx) for name, engine in engines.items()}
            depthwise = started[RMAC] and engines[RMAC].phase.task["opcode"] is Opcode.DW
            ctx.set(dut.depthwise_start, depthwise)
            # The engine's turn is the new task's from the next cycle on.
            ctx.set(dut.rmac_turn, engines[RMAC].turn ^ started[RMAC])
            if row := params.pop(cycle, None):
                ctx.set(dut.param.row, row)
            else:
                ctx.set(dut.param.row.as_value(), 0)
            residual = residuals.pop(cycle, None)
            ctx.set(dut.residual.data, np.full((config.l, config.m), 77).tolist() if residual is None else residual)

            # What leaves the pipeline in this cycle.
            if in_flight and in_flight[0][0] + dut.latency == cycle:
                _, name, phase, result = in_flight.popleft()
                expected = model.expected(phase, result)
                got = {path: sample(ctx, dut, path) for path in expected}
                assert got == expected, f"cycle {cycle}, {name}, {phase.task}"
                retiring.append((cycle + buffer_write_latency, name, phase, result))
                seen[phase.task["dst"], phase.task["act"]] += 1
                seen.update(f"q {q}" for q in (-128, 127) for row in got["trace_words"] if q in row)
                seen["cut"] += expected["trace_mask"] != result["mask"]
                seen["second"] += expected["write2.valid"]
                first = model.place(phase.task, result)
                codes = [model.codes.get(first + i, 0) for i in range(1 << phase.task["lp"])] if phase.task["use_code"] else []
                seen["code"] += any(codes)
                seen["fraction"] += phase.task["act"] is Act.QUOTIENT and any(code % (1 << FRACTION_BITS) for code in codes)
                seen["word"] += phase.task["opcode"] is Opcode.LN and result["entry"] % LN_WORDS > 0
                seen["head"] += phase.task["use_code"] and result["entry"] > 0
                seen["parts", phase.task["opcode"], bool(phase.task["wide"])] += 1
                seen["beyond"] += "z_write.rows_low" in expected and any(
                    abs(word) == (1 << SUM_BITS - 1) - 1 for row in got["trace_words"] for word in row
                )
                seen["z row"] += phase.task["dst"] is Buffer.Z and phase.task["z_row"] > 0
                seen["spread"] += phase.task["act"] is Act.RESIDUAL and 1 << phase.task["lp"] < config.l
            else:
                for path in ("write.valid", "write2.valid", "z_write.valid", "trace_valid"):
                    assert not sample(ctx, dut, path), f"{path} in cycle {cycle}"
            # What retires.
            assert ctx.get(dut.rmac_progress) == progress
            assert (ctx.get(dut.rmac_begun), ctx.get(dut.rmac_begun_groups)) == begun
            now = None
            if retiring and retiring[0][0] == cycle:
                _, now, phase, result = retiring.popleft()
                engines[now].retire(phase)
                if now == RMAC and phase is followed:
                    begun = result["progress"], result["cg"] + 1
                    progress = result["progress"] if result["seg_last"] else progress
                    seen["beside the next task"] += phase is not engines[RMAC].phase
            if depthwise:
                progress, begun, followed = 0, (0, 0), engines[RMAC].phase
            assert (ctx.get(dut.mat_retired), ctx.get(dut.rmac_retired)) == (now == MAT, now == RMAC)

            # What is asked for, and what enters.
            if ctx.get(dut.param.en):
                engine = engines[(MAT, RMAC)[ctx.get(dut.param.rmac)]]
                params[cycle + PARAM_LATENCY] = engine.looking.params[ctx.get(dut.param.offset)]
            if ctx.get(dut.residual.valid):
                read = dut.residual
                place = [ctx.get(v) for v in (read.base, read.rows, read.skew, read.spread, read.px, read.cg)]
                residuals[cycle + buffer_read_latency] = model.residual(ctx.get(dut.residual_src).value, *place).tolist()
            valid = {name: ctx.get(engine.stream.valid) for name, engine in engines.items()}
            ready = {name: ctx.get(engine.stream.ready) for name, engine in engines.items()}
            taken = [name for name in engines if valid[name] and ready[name]]
            assert len(taken) == any(valid.values()), "a waiting result must be taken, and only one"
            if all(valid.values()):
                seen["contention"] += 1
                assert taken != [last], "engines that both have results take turns"
            for name in taken:
                last = name
                seen[name] += 1
                phase = engines[name].phase
                in_flight.append((cycle, name, phase, engines[name].taken()))
            seen["idle"] += not taken
            await ctx.tick()
            for engine in engines.values():
                engine.finish()
            if all(engine.done for engine in engines.values()):
                break
        else:
            pytest.fail("the results did not come to an end")

    simulate(dut, testbench)
    seen["early"] = min(engine.early for engine in engines.values())
    return seen


def workloads(config, count, seed):
    """Every kind of task on both engines."""
    work = Workload(config, seed)
    buffers = [Buffer.X, Buffer.Y, Buffer.D, Buffer.H]
    mat = [work.phase(count, opcode=Opcode.PW, dst=dst, act=act) for dst in buffers[:2] for act in LAYER_ACTS]
    mat += [work.phase(count, opcode=Opcode.PW, dst=Buffer.O, act=Act.NONE, logits=logits) for logits in (0, 1)]
    mat += [work.phase(count, opcode=Opcode.LN, dst=Buffer.D, act=Act.NONE) for _ in range(2)]
    # What lies in the divisor buffer may come from a layer with the other width.
    mat += [phase for wide in (0, 1) for bits in CODE_WIDTHS for phase in work.division(count, bits, wide)]
    rmac = [work.phase(count, opcode=Opcode.DW, dst=dst, act=act) for dst in buffers[2:] for act in LAYER_ACTS]
    rmac += [work.attention(count, wide) for wide in (0, 1)]
    rmac += [work.phase(count, opcode=Opcode.POOL, dst=Buffer.D, act=Act.NONE)]
    work.rng.shuffle(rmac)
    return mat, rmac


#: Residuals that arrive before the requantized values, with them, and after them.
@pytest.mark.parametrize(("read", "write"), [(1, 0), (6, 5), (10, 1), (14, 0)])
def test_every_kind_of_task_with_two_competing_engines(read, write):
    seen = check(TOY, read, write, *workloads(TOY, 25, read), seed=read)
    assert seen["contention"] > 100 and seen["idle"] > 50 and seen["early"] > 0 and seen["beside the next task"] > 0
    assert seen["spread"] > 20 and seen["word"] > 10 and seen["head"] > 10 and seen["z row"] > 10
    assert seen["cut"] > 20 and seen["second"] > 20 and seen["code"] > 10 and seen["q -128"] > 20 and seen["q 127"] > 20
    assert seen["fraction"] > 20 and seen["beyond"] > 5
    assert all(seen["parts", opcode, wide] > 10 for opcode in (Opcode.KTV, Opcode.QZ) for wide in (False, True))
    for dst in (Buffer.X, Buffer.Y, Buffer.D, Buffer.H):
        assert all(seen[dst, act] > 10 for act in LAYER_ACTS)
    assert all(seen[dst, Act.NONE] > 10 for dst in (Buffer.O, Buffer.Z, Buffer.DIV))
    assert all(seen[dst, Act.QUOTIENT] > 10 for dst in (Buffer.D, Buffer.DIV))


#: With more blocks than channels K^T V comes in two sums over pixels.
@pytest.mark.parametrize("config", [EIGHT, FOUR_BY_EIGHT], ids=lambda config: config.name)
def test_eight_blocks(config):
    seen = check(config, 6, 5, *workloads(config, 8, 7), eagerness=1.0)
    assert seen["contention"] > 50 and seen["code"] > 3 and seen["cut"] > 10


@pytest.mark.parametrize("alone", [MAT, RMAC])
def test_one_engine_alone_is_served_every_cycle(alone):
    work = Workload(TOY, 8)
    phases = [work.phase(60, opcode=Opcode.PW, dst=Buffer.X)]
    seen = check(TOY, 6, 0, phases if alone == MAT else [], phases if alone == RMAC else [], eagerness=1.0)
    assert seen[alone] == 60 and seen["contention"] == 0
    # One cycle to set the task, the pipeline's length at the end.
    assert seen["idle"] == 1 + Schedule(6, PARAM_LATENCY).write


def test_latency_follows_the_longest_way():
    assert Schedule(1, 2).write == Schedule(10, 2).write
    assert Schedule(11, 2).write == Schedule(10, 2).write + 1
    assert Schedule(1, 3).write == Schedule(1, 2).write + 1
