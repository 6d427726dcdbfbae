"""Post-processing: the one pipeline through which both engines' accumulators become words in the buffers."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Act, Buffer, Opcode
from hw.cost import DSP_PRODUCT_BITS, Resources
from hw.delay import delayed
from hw.interfaces import (
    GROUP_BITS,
    LN_WORDS,
    LOGIT_BITS,
    PARAM,
    PIXEL_BITS,
    POST_TASK,
    SPLIT_BITS,
    ReadSignature,
    WriteSignature,
    param_row,
    result_layout,
    words,
)
from hw.units.divisor_buffer import DivisorBuffer
from hw.units.divisor_code import DivisorCode
from hw.units.joined_sums import JoinedSums
from hw.units.log2 import DIVISOR_BITS, Log2
from hw.units.post_ports import ParamReadSignature, SecondWriteSignature, ZWriteSignature
from hw.units.post_schedule import Schedule
from hw.units.requantizer import Requantizer
from hw.units.second_step import CENTRE_BITS, SecondStep
from hw.units.split_sum import SplitSum
from quant.contract import ACT_BITS


class PostProcessor(wiring.Component):
    """Integer contract, section 3, on ``l x m`` accumulators a cycle, and the way of each result to its buffer.

    One result a cycle is taken, from the two engines in turn when both have one. From then on nothing stalls: it is written
    exactly ``latency`` cycles later. What a result needs is looked up on the way, by the fields that came with it and by its
    engine's task.

    ============  =========================================================================================
    task's `dst`  what is written
    ============  =========================================================================================
    X, Y, D, H    ``q`` through ``write``, and through ``write2`` when ``dst2_on``, before ``dst2_cg_end``
    O             ``t`` where ``logits``, else ``q``, through ``write`` and ``write_upper``
    Z             ``q`` through ``z_write``, or ``t`` in two parts for row sums and where ``wide``; the result's ``px`` is the
                  row from ``z_row`` on, ``cg`` the group of V's channels
    DIV           nothing outside: lanes 0 and 1 of each slot's accumulators are a divisor, its code goes to the divisor
                  buffer; the parameters' ``shift`` is the smallest exponent, the ``entry`` the head; with ``act`` QUOTIENT
                  the code has a fraction
    ============  =========================================================================================

    A slot of an ordinary result is written when its mask bit is set and its channel group lies before ``dst_cg_end``. QZ that is
    ``wide`` writes only the lower half of the slots: the upper half's accumulators belong to theirs.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.
    buffer_read_latency : int
        Cycles from a request on ``residual`` to its data.
    param_latency : int
        Cycles from ``en`` to ``row`` of ``param``.
    buffer_write_latency : int
        Cycles from a write to the first read request that sees it: so much later than its write a result retires.

    Members
    -------
    mat, rmac : In(stream.Signature(result_layout(config)))
        The engines' results.
    mat_tasks, rmac_tasks : In(ArrayLayout(POST_TASK, 2))
        The engines' tasks, by their results' ``turn``; each stable from its first result's arrival until its last one has
        retired.
    param : Out(ParamReadSignature(config))
        The engines' parameter rings. A result's row must be in its engine's ring until the cycle after the result was taken;
        then begin those of the engine's next task.
    residual : Out(ReadSignature(config))
        Reads the residual, for results of tasks with ``act`` RESIDUAL: slot by slot, as the result is written.
    residual_src : Out(Buffer)
        Where ``residual`` reads, in the cycle of the request.
    write : Out(WriteSignature(config))
        Words for one of the activation buffers, the lower bytes when it is for O.
    write_dst : Out(Buffer)
        The buffer that ``write`` is for.
    write_upper : Out(words(config, signed(LOGIT_BITS - ACT_BITS)))
        The upper bytes of the words of ``write`` when it is for O.
    write2 : Out(SecondWriteSignature())
        Repeats ``write`` at another base.
    write2_dst : Out(Buffer)
        The buffer that ``write2`` is for.
    z_write : Out(ZWriteSignature(config))
        Words for the buffer of K^T V.
    mat_retired, rmac_retired : Out(1)
        A result of this engine has been written, and what reads it may start in this cycle.
    rmac_progress : Out(PIXEL_BITS)
        ``progress`` of R-MAC's last result with ``seg_last`` that had retired before this cycle, of its last DW task.
    rmac_begun : Out(PIXEL_BITS), rmac_begun_groups : Out(GROUP_BITS + 1)
        The same of its last result with any ``progress``, and the channel group behind it: of the pixels before ``rmac_begun``
        those groups before ``rmac_begun_groups`` are complete whose results came first.
    depthwise_start : In(1), rmac_turn : In(1)
        Sets all of them to 0: a DW task starts behind the task of ``rmac_turn``. What counts from the next cycle on are its
        results, also beside R-MAC's next task, which MAT may not yet have caught up with.
    trace_valid, trace_tag, trace_dst, trace_px, trace_cg, trace_mask, trace_split, trace_row_sum : Out
        What is being written in this cycle, for simulations: layer, buffer, place, slots that are written.
    trace_words : Out(words(config, signed(LOGIT_BITS)))
        ``t`` for logits, what the Z buffer keeps for Z, the codes in channel 0 for DIV, ``q`` otherwise.
    """

    def __init__(
        self, config: AcceleratorConfig, buffer_read_latency: int, *, param_latency: int = 2, buffer_write_latency: int = 0
    ):
        self.config = config
        self.schedule = Schedule(buffer_read_latency, param_latency)
        self.buffer_write_latency = buffer_write_latency
        # What accompanies a result, by cycles after it was taken; index 0 is the result being taken.
        self._fields = [(name, field.shape) for name, field in result_layout(config) if name != "acc"]
        at = data.StructLayout({"rmac": 1, **dict(self._fields)})
        self._at = [Signal(at, name=f"at_{cycle}", reset_less=True) for cycle in range(self.latency + 1)]
        self._valid = [Signal(name=f"valid_{cycle}") for cycle in range(self.latency + 1)]
        #: The accumulators in the cycle of the first step.
        self._sums = Signal(result_layout(config)["acc"].shape, name="sums")
        super().__init__({
            "mat": In(stream.Signature(result_layout(config))),
            "rmac": In(stream.Signature(result_layout(config))),
            "mat_tasks": In(data.ArrayLayout(POST_TASK, 2)),
            "rmac_tasks": In(data.ArrayLayout(POST_TASK, 2)),
            "param": Out(ParamReadSignature(config)),
            "residual": Out(ReadSignature(config)),
            "residual_src": Out(Buffer),
            "write": Out(WriteSignature(config)),
            "write_dst": Out(Buffer),
            "write_upper": Out(words(config, signed(LOGIT_BITS - ACT_BITS))),
            "write2": Out(SecondWriteSignature()),
            "write2_dst": Out(Buffer),
            "z_write": Out(ZWriteSignature(config)),
            "mat_retired": Out(1),
            "rmac_retired": Out(1),
            "rmac_progress": Out(PIXEL_BITS),
            "rmac_begun": Out(PIXEL_BITS),
            "rmac_begun_groups": Out(GROUP_BITS + 1),
            "depthwise_start": In(1),
            "rmac_turn": In(1),
            "trace_valid": Out(1),
            "trace_tag": Out(DESCRIPTOR["tag"].width),
            "trace_dst": Out(Buffer),
            "trace_px": Out(PIXEL_BITS),
            "trace_cg": Out(GROUP_BITS),
            "trace_mask": Out(config.l),
            "trace_split": Out(SPLIT_BITS),
            "trace_row_sum": Out(1),
            "trace_words": Out(words(config, signed(LOGIT_BITS))),
        })

    @property
    def latency(self) -> int:
        """Cycles from taking a result to writing it."""
        return self.schedule.write

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """A requantizer and a second step a lane, the divisor buffer and the multiplier of its address."""
        slots = Resources()
        for unit, dsp_slots in ((Requantizer, config.first_dsp_slots), (SecondStep, config.second_dsp_slots)):
            slots += unit.resources(dsp=True) * dsp_slots + unit.resources(dsp=False) * (config.l - dsp_slots)
        address = Resources(dsp=1 if ceil_log2(config.divisor_rows) >= DSP_PRODUCT_BITS else 0)
        return slots * config.m + DivisorBuffer.resources(config) + address

    def elaborate(self, platform: object) -> Module:
        """The arbiter, the line of what accompanies a result, and the values' pipeline."""
        m = Module()
        doubled = self._arbitrate(m)
        self._accompany(m, doubled)
        found = self._parameters(m)
        read_codes, written_codes = self._divisors(m, found)
        t, params = self._first_step(m, read_codes, found)
        self._residual(m)
        lanes = self._second_step(m, t, params)
        kept = self._split(m, lanes)
        self._write(m, lanes, kept)
        self._retire(m)
        self._trace(m, lanes, kept, written_codes)
        return m

    def _arbitrate(self, m: Module) -> Value:
        """Take a result a cycle, and join its sums; whether they were joined by slots, in the cycle ``lookup``."""
        last_rmac = Signal()
        take_rmac = Signal()
        m.d.comb += [
            take_rmac.eq(self.rmac.valid & ~(self.mat.valid & last_rmac)),
            self.rmac.ready.eq(take_rmac),
            self.mat.ready.eq(~take_rmac),
            self._valid[0].eq(self.mat.valid | self.rmac.valid),
            self._at[0].rmac.eq(take_rmac),
        ]
        for name, _ in self._fields:
            m.d.comb += self._at[0][name].eq(Mux(take_rmac, self.rmac.payload[name], self.mat.payload[name]))
        with m.If(self._valid[0]):
            m.d.sync += last_rmac.eq(take_rmac)
        m.submodules.joined = joined = JoinedSums(self.config)
        task = self._task(m, 0, "joined_task")
        doubled = ~take_rmac & (task.opcode == Opcode.QZ) & task.wide
        # K^T V leaves R-MAC in two sums over pixels, where its blocks have more pixels than channels; the row sums of K do not.
        halves = take_rmac & (task.opcode == Opcode.KTV) & ~self.rmac.payload.row_sum & (self.config.l > self.config.m)
        by_slot = Signal(reset_less=True)
        m.d.sync += by_slot.eq(doubled)
        m.d.comb += [
            joined.mat.eq(self.mat.payload.acc),
            joined.rmac.eq(self.rmac.payload.acc),
            joined.from_rmac.eq(take_rmac),
            joined.apart.eq(Mux(take_rmac, ~halves, (task.opcode != Opcode.DIV) & ~doubled)),
            joined.by_slot.eq(doubled | halves),
            Value.cast(self._sums).eq(
                Value.cast(delayed(m, joined.sums, self.schedule.first_step - self.schedule.joined, "sums", reset=True))
            ),
        ]
        return by_slot

    def _accompany(self, m: Module, doubled: Value) -> None:
        """The delay line of all that is not a value; the mask is completed on the way."""
        for cycle in range(self.latency):
            m.d.sync += [self._at[cycle + 1].eq(self._at[cycle]), self._valid[cycle + 1].eq(self._valid[cycle])]
        # Cycle 1 finds each slot's channel group, cycle 2 compares it.
        task = self._task(m, 2, "mask_task")
        split = self._task(m, 1, "group_task").lp
        inside = Signal(self.config.l)
        alone = ~delayed(m, doubled, 1, "doubled")
        for slot in range(self.config.l):
            group = Signal(range((1 << GROUP_BITS) + self.config.l), name=f"group_{slot}", reset_less=True)
            m.d.sync += group.eq(self._at[1].cg + (slot >> split))
            m.d.comb += inside[slot].eq((group < task.dst_cg_end) & (alone if slot >= self.config.l // 2 else 1))
        with m.If(self._is_ordinary(task)):
            m.d.sync += self._at[3].mask.eq(self._at[2].mask & inside)

    def _task(self, m: Module, cycle: int, name: str) -> data.View:
        """The task of the result that is ``cycle`` cycles old; it is stable, so it needs no delay line."""
        task, at = Signal(POST_TASK, name=name), self._at[cycle]
        with m.Switch(Cat(at.rmac, at.turn)):
            for choice, found in enumerate((self.mat_tasks[0], self.rmac_tasks[0], self.mat_tasks[1], self.rmac_tasks[1])):
                with m.Case(choice):
                    m.d.comb += Value.cast(task).eq(Value.cast(found))
        return task

    @staticmethod
    def _is_ordinary(task: data.View) -> Value:
        """Whether the results of ``task`` go to an activation buffer."""
        return (task.dst != Buffer.Z) & (task.dst != Buffer.DIV)

    def _divisors(self, m: Module, found: list[list[data.View]]) -> tuple[list[Value], list[Value]]:
        """The codes read for each slot, in the cycle of the first step, and those of DIV, stored when its result is written."""
        lookup, start, write = self.schedule.lookup, self.schedule.first_step, self.schedule.write
        bits = exact_log2(self.config.l)
        # A head has as many rows of codes as its channel groups have rows of words; the head's number is the entry.
        first_task, row = self._task(m, lookup - 1, "row_task"), Signal(ceil_log2(self.config.divisor_rows), name="divisor_row")
        at = self._at[lookup - 1]
        m.d.sync += row.eq(at.entry * first_task.dst_rows + (at.px >> bits))
        m.submodules.divisors = divisors = DivisorBuffer(self.config)
        m.d.comb += [
            divisors.read_row.eq(row),
            divisors.read_px.eq(self._at[lookup].px),
            divisors.read_split.eq(self._task(m, lookup, "lookup_task").lp),
        ]
        read_codes = [
            delayed(m, divisors.read_codes[slot], start - lookup - divisors.latency, f"read_code_{slot}")
            for slot in range(self.config.l)
        ]
        written_codes = []
        fine = self._task(m, start, "divide_task").act == Act.QUOTIENT
        for slot in range(self.config.l):
            m.submodules[f"log2_{slot}"] = log2 = Log2()
            m.d.comb += [
                log2.d.eq(self._sums[slot][0][:DIVISOR_BITS]),
                log2.div_min.eq(found[slot][0].shift),
                log2.fine.eq(fine),
            ]
            written_codes.append(delayed(m, log2.code, write - start - log2.latency, f"code_{slot}"))
            m.d.comb += divisors.write_codes[slot].eq(written_codes[slot])
        m.d.comb += [
            divisors.write_valid.eq(self._valid[write] & (self._task(m, write, "store_task").dst == Buffer.DIV)),
            divisors.write_row.eq(delayed(m, row, write - lookup, "divisor_row")),
        ]
        return read_codes, written_codes

    def _parameters(self, m: Module) -> list[list[data.View]]:
        """The parameters of every slot and channel, in the cycle of the first step."""
        lookup, start = self.schedule.lookup, self.schedule.first_step
        entry, opcode = self._at[lookup].entry, self._task(m, lookup, "param_task").opcode
        m.d.comb += [
            self.param.en.eq(self._valid[lookup]),
            self.param.rmac.eq(self._at[lookup].rmac),
            self.param.offset.eq(param_row(opcode, entry)),
        ]
        arrived, row = lookup + self.schedule.param_latency, self.param.row
        # Each bank's word is its slot's. LN has slot 0 alone, whose word may be in the other half of the banks.
        upper = delayed(m, (opcode == Opcode.LN) & entry[0], arrived - lookup, "param_upper")
        found = []
        for slot in range(self.config.l):
            found.append([])
            for channel in range(self.config.m):
                param = Signal(PARAM, name=f"param_{slot}_{channel}", reset_less=True)
                word = Value.cast(row[slot][channel])
                if not slot:
                    word = Mux(upper, Value.cast(row[self.config.l // LN_WORDS][channel]), word)
                m.d.sync += Value.cast(param).eq(word)
                found[slot].append(delayed(m, param, start - arrived - 1, f"param_{slot}_{channel}"))
        return found

    def _first_step(
        self, m: Module, codes: list[Value], found: list[list[data.View]]
    ) -> tuple[list[list[Value]], list[list[dict[str, Value]]]]:
        """``t`` and the remaining parameters of every slot and channel, when the second step takes them."""
        start, second = self.schedule.first_step, self.schedule.second_step
        task = self._task(m, start, "code_task")
        # For all lanes, so it is registered: each bit that it chooses is half a lookup table then.
        quotient = Signal(reset_less=True)
        m.d.sync += quotient.eq(self._task(m, start - 1, "quotient_task").act == Act.QUOTIENT)
        t, params = [], []
        for slot in range(self.config.l):
            m.submodules[f"code_{slot}"] = code = DivisorCode()
            m.d.comb += [code.code.eq(codes[slot]), code.used.eq(task.use_code), code.fine.eq(quotient)]
            t.append([])
            params.append([])
            for channel in range(self.config.m):
                name = f"{slot}_{channel}"
                param = found[slot][channel]
                m.submodules[f"requantizer_{name}"] = lane = Requantizer(dsp=slot < self.config.first_dsp_slots)
                m.d.comb += [
                    lane.acc.eq(self._sums[slot][channel]),
                    lane.bias.eq(param.bias),
                    lane.mult.eq(param.mult),
                    lane.shift.eq(param.shift),
                    lane.code.eq(code.shift),
                ]
                t[slot].append(delayed(m, lane.t, second - self.schedule.first_step_done, f"t_{name}"))
                # The reciprocal takes the place of a constant that a quotient does not have.
                late = {
                    "three": (Mux(quotient, code.reciprocal, param.three), second - start),
                    "zero": (param.zero, second + SecondStep.zero_after - start),
                }
                # With resets: flip-flops in place of lookup tables, which are what a device has least of.
                params[slot].append({
                    key: delayed(m, value, cycles, f"{key}_{name}", reset=True) for key, (value, cycles) in late.items()
                })
        return t, params

    def _residual(self, m: Module) -> None:
        """Ask for the residual, so that it arrives with ``t``."""
        cycle = self.schedule.residual
        task = self._task(m, cycle, "residual_task")
        m.d.comb += [
            self.residual.valid.eq(self._valid[cycle] & (task.act == Act.RESIDUAL)),
            self.residual.px.eq(self._at[cycle].px),
            self.residual.cg.eq(self._at[cycle].cg),
            self.residual.base.eq(task.res_base),
            self.residual.rows.eq(task.res_rows),
            self.residual.skew.eq(task.res_skew),
            self.residual.ring.eq(task.res_ring),
            self.residual.spread.eq(exact_log2(self.config.l) - task.lp),
            self.residual_src.eq(task.res_src),
        ]

    def _second_step(
        self, m: Module, t: list[list[Value]], params: list[list[dict[str, Value]]]
    ) -> list[list[SecondStep]]:
        """The lane of every slot and channel, which gives ``q`` and what O and Z keep when the result is written."""
        # The task's constants are those of the cycle in which they are used, registered once for all lanes.
        second = self.schedule.second_step
        task = self._task(m, second - 1, "second_task")
        act, centre = Signal(Act, reset_less=True), Signal(signed(CENTRE_BITS), reset_less=True)
        m.d.sync += [act.eq(task.act), centre.eq(Mux(task.act == Act.RESIDUAL, -task.res_zero.as_signed(), 0))]
        out_shift = delayed(m, self._task(m, second + SecondStep.shift_after - 1, "shift_task").out_shift, 1, "out_shift")
        logits = delayed(m, self._task(m, second + SecondStep.logits_after - 1, "logits_task").logits, 1, "logits")
        lanes: list[list[SecondStep]] = []
        for slot in range(self.config.l):
            lanes.append([])
            for channel in range(self.config.m):
                m.submodules[f"second_{slot}_{channel}"] = lane = SecondStep(dsp=slot < self.config.second_dsp_slots)
                m.d.comb += [
                    lane.t.eq(t[slot][channel]),
                    *(getattr(lane, name).eq(value) for name, value in params[slot][channel].items()),
                    lane.r.eq(self.residual.data[slot][channel]),
                    lane.act.eq(act),
                    lane.centre.eq(centre),
                    lane.out_shift.eq(out_shift),
                    lane.logits.eq(logits),
                ]
                lanes[slot].append(lane)
        return lanes

    def _split(self, m: Module, lanes: list[list[SecondStep]]) -> list[list[SplitSum]]:
        """What the Z buffer keeps of the slots that it has room for, when the result is written."""
        before = self._at[self.latency - 1]
        task = self._task(m, self.latency - 1, "split_task")
        wide = delayed(m, before.row_sum | (before.rmac & task.wide), 1, "wide")
        kept: list[list[SplitSum]] = []
        for slot in range(self.config.m):
            kept.append([])
            for channel in range(self.config.m):
                m.submodules[f"split_{slot}_{channel}"] = lane = SplitSum()
                second = lanes[slot][channel]
                m.d.comb += [lane.t.eq(second.t_out), lane.q.eq(second.q), lane.wide.eq(wide)]
                kept[slot].append(lane)
        return kept

    def _write(self, m: Module, lanes: list[list[SecondStep]], kept: list[list[SplitSum]]) -> None:
        """The ports to the buffers."""
        valid, at = self._valid[self.latency], self._at[self.latency]
        task = self._task(m, self.latency, "write_task")
        ordinary = valid & self._is_ordinary(task)
        payload = self.write.payload
        m.d.comb += [
            self.write.valid.eq(ordinary),
            payload.mask.eq(at.mask),
            payload.px.eq(at.px),
            payload.cg.eq(at.cg),
            payload.split.eq(task.lp),
            payload.base.eq(task.dst_base),
            payload.rows.eq(task.dst_rows),
            payload.fold.eq(task.dst_fold),
            payload.ring.eq(task.dst_ring),
            self.write_dst.eq(task.dst),
            self.write2.valid.eq(ordinary & task.dst2_on & (at.cg < task.dst2_cg_end)),
            self.write2.base.eq(task.dst2_base),
            self.write2_dst.eq(task.dst2),
            self.z_write.valid.eq(valid & (task.dst == Buffer.Z)),
            self.z_write.row.eq(task.z_row + at.px),
            self.z_write.j.eq(at.cg),
            self.z_write.ksum.eq(at.row_sum),
        ]
        for slot in range(self.config.l):
            for channel in range(self.config.m):
                m.d.comb += [
                    payload.words[slot][channel].eq(lanes[slot][channel].q),
                    self.write_upper[slot][channel].eq(lanes[slot][channel].o[ACT_BITS:]),
                ]
        for slot, parts in enumerate(kept):
            for channel, lane in enumerate(parts):
                m.d.comb += [
                    self.z_write.rows[slot][channel].eq(lane.high),
                    self.z_write.rows_low[slot][channel].eq(lane.low),
                ]

    def _retire(self, m: Module) -> None:
        """Tell the engines what can be read."""
        at = self._at[self.latency]
        wait = self.buffer_write_latency
        valid = delayed(m, self._valid[self.latency], wait, "retired", reset=True)
        rmac = delayed(m, at.rmac, wait, "retired_rmac")
        seg_last = delayed(m, at.seg_last, wait, "retired_seg_last")
        progress = delayed(m, at.progress, wait, "retired_progress")
        turn = delayed(m, at.turn, wait, "retired_turn")
        group = delayed(m, at.cg, wait, "retired_group")
        m.d.comb += [self.mat_retired.eq(valid & ~rmac), self.rmac_retired.eq(valid & rmac)]
        # Results of another task have no progress; those that are on their way when a DW task starts have the other turn.
        depthwise_turn = Signal()
        with m.If(self.depthwise_start):
            m.d.sync += [self.rmac_progress.eq(0), self.rmac_begun.eq(0), self.rmac_begun_groups.eq(0)]
            m.d.sync += depthwise_turn.eq(~self.rmac_turn)
        with m.Elif(self.rmac_retired & (turn == depthwise_turn) & (progress != 0)):
            m.d.sync += [self.rmac_begun.eq(progress), self.rmac_begun_groups.eq(group + 1)]
            with m.If(seg_last):
                m.d.sync += self.rmac_progress.eq(progress)

    def _trace(
        self, m: Module, lanes: list[list[SecondStep]], kept: list[list[SplitSum]], codes: list[Value]
    ) -> None:
        """What simulations compare with the golden model."""
        at = self._at[self.latency]
        task = self._task(m, self.latency, "trace_task")
        m.d.comb += [
            self.trace_valid.eq(self._valid[self.latency]),
            self.trace_tag.eq(task.tag),
            self.trace_dst.eq(task.dst),
            self.trace_px.eq(at.px),
            self.trace_cg.eq(at.cg),
            self.trace_mask.eq(at.mask),
            self.trace_split.eq(task.lp),
            self.trace_row_sum.eq(at.row_sum),
        ]
        for slot in range(self.config.l):
            for channel in range(self.config.m):
                code = codes[slot] if channel == 0 else 0
                value = lanes[slot][channel].o
                if slot < len(kept):
                    lane = kept[slot][channel]
                    value = Mux(lane.wide, Cat(lane.low, lane.high).as_signed(), value)
                m.d.comb += self.trace_words[slot][channel].eq(Mux(task.dst == Buffer.DIV, code, value))
