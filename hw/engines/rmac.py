"""The R-MAC engine: adder trees beside MAT's, or an accumulator for each product (arXiv 2405.03882, section IV)."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Opcode
from hw.cost import Resources
from hw.delay import delayed
from hw.engines.dw_sequencer import DwSequencer
from hw.engines.head_sequencer import HeadSequencer
from hw.engines.mac_block import OWN_BITS, MacBlock
from hw.engines.mat import JointSignature, RingReadSignature, result_meta, weight_row
from hw.engines.result_queue import ResultQueue
from hw.engines.shared_operands import SharedOperands
from hw.engines.task_state import TaskState
from hw.interfaces import POST_TASK, result_layout, words
from hw.memory.act_buffer import WideReadSignature, gathered
from hw.memory.row_ring import RowRing
from hw.units.chosen import chosen
from hw.units.row_sum import RowSum
from quant.contract import ACC_BITS


class RMacEngine(wiring.Component):
    """Runs DW, KTV and POOL tasks, and the upper half of MAT's joint PW tasks (docs/architecture.md, sections 3 and 4).

    Members
    -------
    start : In(1), task : In(DESCRIPTOR)
        A task, only while not ``occupied``. A joint PW task is started here and in MAT at once.
    pending : In(1)
        ``task`` is a DW that will be the next one: from some cycle on to that of its ``start``.
    busy : Out(1)
        Until its last result has been retired.
    occupied : Out(1)
        Until its last beat has been issued (where it is its own: its last result is in the queue) and the results of the task
        before it have been retired.
    trailing : Out(1)
        Results of the task before the last one are on their way.
    turn : Out(1), tasks : Out(ArrayLayout(POST_TASK, 2))
        What post-processing needs of the last two tasks, by their results' ``turn``; that of the last one.
    read : Out(WideReadSignature)
        Reads of H.
    weights : Out(RingReadSignature)
        R-MAC's weight ring.
    params_filled : In, params_free : Out
        R-MAC's parameter ring; post-processing reads it.
    retired : In(1)
        A result of R-MAC has been written.
    result : Out(stream)
        To post-processing.
    joint : In(JointSignature)
        From MAT.
    stall_weights, stall_results : Out(1)
        Counter strobes.
    """

    def __init__(self, config: AcceleratorConfig, read_latency: int):
        self.config = config
        self.read_latency = read_latency
        super().__init__(
            {
                "start": In(1),
                "task": In(DESCRIPTOR),
                "pending": In(1),
                "busy": Out(1),
                "occupied": Out(1),
                "trailing": Out(1),
                "turn": Out(1),
                "tasks": Out(data.ArrayLayout(POST_TASK, 2)),
                "read": Out(WideReadSignature(config, config.wide)),
                "weights": Out(RingReadSignature(weight_row(config), config.weight_rows)),
                "params_filled": In(range(config.rmac_param_rows + 1)),
                "params_free": Out(range(config.rmac_param_rows + 1)),
                "retired": In(1),
                "result": Out(stream.Signature(result_layout(config))),
                "joint": In(JointSignature(config)),
                "stall_weights": Out(1),
                "stall_results": Out(1),
            }
        )

    @staticmethod
    def _parts(config: AcceleratorConfig) -> int:
        """Sums over pixels that a block's K^T V is made of; post-processing adds the last two (`hw.units.joined_sums`)."""
        return config.l // config.m

    @staticmethod
    def ktv_latency(config: AcceleratorConfig) -> int:
        """Cycles from K^T V's operands to the push of their sum: those of the trees, and one more where parts are added."""
        macs = MacBlock(config.t, config.s)
        macs._MustUse__silence = True  # only asked, never built
        return macs.tree_latency + (RMacEngine._parts(config) > 2)

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The array and the queue; row sums are adders."""
        return MacBlock.resources(config.t, config.s) * config.l + ResultQueue.resources(config)

    def elaborate(self, platform: object) -> Module:
        """Sequencers, reads, array and results."""
        m = Module()
        config = self.config
        m.submodules.dw = dw = DwSequencer(config)
        m.submodules.head = head = HeadSequencer(config)
        m.submodules.queue = queue = ResultQueue(config, config.wide)
        wiring.connect(m, wiring.flipped(self.result), queue.o)

        m.submodules.state = state = TaskState(config, config.rmac_param_rows)
        task = state.running
        inside = Signal(range(config.result_depth + 1))
        m.d.sync += inside.eq(inside + queue.issue - queue.push)
        is_dw, is_pw = task.opcode == Opcode.DW, task.opcode == Opcode.PW
        m.d.comb += [
            state.start.eq(self.start),
            state.task.eq(self.task),
            state.sequencing.eq(dw.busy | dw.beat_valid | head.busy | head.beat_valid | (is_pw & self.joint.sequencing)),
            # Results of its own leave the engine by ways of different length; those of a joint task cannot meet others.
            state.settled.eq(is_pw | (inside == 0)),
            state.pending.eq(queue.pending),
            state.results_idle.eq(queue.idle),
            state.retired.eq(self.retired),
            state.left.eq(queue.o.valid & queue.o.ready & (queue.o.payload.turn == state.turn)),
            # Results of a joint task that come beside the next task are the older one's, whose entries were counted as issued.
            state.used.eq(Mux(is_pw, self.joint.used, queue.push & ~self.joint.push)),
            state.entry.eq(Mux(is_pw, self.joint.entry, queue.payload.entry)),
            state.filled.eq(self.params_filled),
            self.turn.eq(state.turn),
            self.tasks.eq(state.tasks),
            self.busy.eq(state.busy),
            self.occupied.eq(state.occupied),
            self.trailing.eq(state.trailing),
            self.params_free.eq(state.params_free),
            dw.start.eq(state.started & is_dw),
            head.start.eq(state.started & ~is_dw & ~is_pw),
            dw.task.eq(task),
            dw.pending.eq(self.pending),
            dw.coming.eq(self.task),
            head.task.eq(task),
            dw.params.eq(state.params),
            head.params.eq(state.params),
            dw.space.eq(queue.space),
            head.space.eq(queue.space),
            queue.issue.eq(dw.issue | head.issue | self.joint.issue),
            queue.retired.eq(self.retired),
            self.stall_weights.eq(dw.stall_weights),
            self.stall_results.eq(dw.stall_results | head.stall_results),
            self.joint.space.eq(queue.space != 0),
            self.joint.params.eq(state.params),
        ]
        self._elaborate_read(m, dw, head, is_dw, task)
        self._elaborate_weights(m, dw, is_pw)
        arrive = self.read_latency
        dw_valid = delayed(m, dw.beat_valid, arrive, "dw_valid", reset=True)
        dw_ahead = delayed(m, dw.beat, arrive - 1, "dw_ahead")
        dw_here = delayed(m, dw_ahead, 1, "dw_beat")
        head_valid, head_here = (
            delayed(m, head.beat_valid, arrive, "head_valid", reset=True),
            delayed(m, head.beat, arrive, "head_beat"),
        )
        k_words, v_words = self._select_head_words(m, head_here)
        # MAT's words meet the weights of the joint task that asked for them, beside which the next task may have started.
        pw_ahead = delayed(m, is_pw, arrive - 1, "pw_ahead", reset=True)
        pw_here = delayed(m, pw_ahead, 1, "pw", reset=True)
        ways = self._ways(m, is_dw, pw_ahead, task.stride == 2, dw_ahead)
        blocks = self._elaborate_array(m, is_dw, pw_here, ways, dw_valid, dw_here, head_valid, head_here, k_words, v_words)
        turn = Mux(self.joint.push, delayed(m, state.turn, arrive + blocks[0].tree_latency, "turn"), state.turn)
        m.d.comb += queue.payload.turn.eq(turn)
        self._elaborate_results(m, queue, blocks, task, dw_valid, dw_here, head_valid, head_here, k_words)
        return m

    def _elaborate_read(self, m: Module, dw: DwSequencer, head: HeadSequencer, is_dw: object, task: data.View) -> None:
        read, wide = self.read, self.config.wide
        m.d.comb += [
            read.valid.eq(dw.beat_valid | head.beat_valid),
            read.base.eq(task.src_base),
            read.rows.eq(task.src_rows),
            read.skew.eq(task.src_skew),
            read.fold.eq(task.src_fold),
            read.ring.eq(task.src_ring),
            read.px.eq(Mux(is_dw, dw.beat.px, head.beat.px)),
            read.cg.eq(Mux(is_dw, dw.beat.src_cg, head.beat.k_cg)),
            read.cg2.eq(head.beat.v_cg),
            # V's sub-buffer answers for V's channel group; only K^T V reads two.
            read.pick2.eq(Mux(task.opcode == Opcode.KTV, Const(1, wide) << head.beat.v_cg[: exact_log2(wide)], 0)),
            read.gather.eq(~is_dw),
        ]

    def _elaborate_weights(self, m: Module, dw: DwSequencer, is_pw: object) -> None:
        # As in MAT: the row must come out with the word, and what a beat releases is released when it reads.
        wait = self.read_latency - RowRing.latency
        free = delayed(m, dw.free, wait, "ring_free", reset=True)
        is_pw = delayed(m, is_pw, wait, "ring_pw", reset=True)
        # A DW may begin when MAT has issued a joint task's last beat: rows that this one has yet to release are not the DW's.
        leaving = Signal.like(self.weights.filled)
        m.d.sync += leaving.eq(leaving + (dw.free | self.joint.leave) - self.weights.free)
        m.d.comb += [
            dw.weights.eq(self.weights.filled - leaving - dw.free),
            self.joint.weights.eq(self.weights.filled - leaving),
            self.weights.en.eq(Mux(is_pw, self.joint.en, delayed(m, dw.beat_valid, wait, "ring_en", reset=True))),
            self.weights.offset.eq(Mux(is_pw, self.joint.offset, delayed(m, dw.beat.offset, wait, "ring_offset"))),
            self.weights.free.eq(Mux(is_pw, self.joint.free, free)),
        ]

    def _select_head_words(self, m: Module, here: data.View) -> tuple[data.View, data.View]:
        k_words, v_words = Signal(words(self.config), name="k_words"), Signal(words(self.config), name="v_words")
        groups = here.k_cg, here.v_cg
        for found, group, places in zip((k_words, v_words), groups, gathered(self.config.wide), strict=True):
            rest = group[: exact_log2(len(places))]
            m.d.comb += Value.cast(found).eq(chosen(rest, *(Value.cast(self.read.data[place]) for place in places)))
        return k_words, v_words

    def _spreads(self, index: int) -> bool:
        """Whether lane ``index`` has another pixel at stride 2, where the upper half of them is not written."""
        return 0 < index % self.config.l < self.config.l // 2

    def _pads(self, lane: int) -> bool:
        """Whether a block's lane has its own weights for padding: it is the lane of the row that holds the channels' padding."""
        return lane == self.config.taps_per_row

    def _ways(self, m: Module, is_dw: Value, is_pw: Value, two: Value, beat: data.View) -> list[Signal]:
        """Which of its sources each lane of all blocks takes, of a beat whose operands come in the next cycle.

        Registered, so that a lookup table has only sources and two bits to choose by: four sources are one for each bit of an
        operand. The task that runs is that of its own beats until their results have left.
        """
        ways = []
        for index in range(self.config.l * self.config.t):
            outside = beat.outside[index // self.config.l][index % self.config.l]
            way = Signal(2, name=f"way_{index}", reset_less=True)
            if self._pads(index % self.config.t):
                straight = two if self._spreads(index) else 0
                m.d.sync += way.eq(Mux(is_pw | (is_dw & outside), 3, Mux(is_dw, straight, 2)))
            elif self._spreads(index):
                m.d.sync += way.eq(Mux(is_dw, Cat(two & ~outside, outside), 3))
            else:
                m.d.sync += way.eq(Mux(is_pw, 3, Mux(is_dw, outside, 2)))
            ways.append(way)
        return ways

    def _elaborate_array(
        self,
        m: Module,
        is_dw: object,
        is_pw: object,
        ways: list[Signal],
        dw_valid: Signal,
        dw_here: data.View,
        head_valid: Signal,
        head_here: data.View,
        k_words: data.View,
        v_words: data.View,
    ) -> list[MacBlock]:
        config, blocks = self.config, []
        lanes, size = config.l, config.m
        m.submodules.shared = shared = SharedOperands(config)
        m.d.comb += [
            shared.joint.eq(is_pw),
            shared.depthwise.eq(is_dw),
            shared.x.eq(self.joint.x),
            shared.weights.eq(self.weights.row),
            shared.lane.eq(dw_here.lane),
            shared.k_words.eq(k_words),
            shared.lanes.eq(head_here.lanes),
        ]
        for block in range(lanes):
            m.submodules[f"block_{block}"] = macs = MacBlock(config.t, config.s, own=True)
            m.d.comb += [
                macs.valid.eq(Mux(is_pw, self.joint.valid, dw_valid | head_valid)),
                macs.first.eq(Mux(is_pw, self.joint.first, Mux(is_dw, dw_here.first, head_here.first))),
                macs.own_beat.eq(dw_valid),
                macs.shared.eq(shared.o[block]),
            ]
            half = block // size
            for lane in range(config.t):
                index = block * config.t + lane
                pixel, group = index % lanes, index // lanes
                spreads, pads, way = self._spreads(index), self._pads(lane), ways[index]
                for s in range(config.s):
                    straight, spread = self.read.data[group][pixel][s], self.read.data[group][2 * pixel % lanes][s]
                    weight, pad = (self.weights.row[block][of][s] for of in (lane, config.taps_per_row))
                    of_head = v_words[half * size + s][lane]
                    # All five sources are a lookup table more, which two bits share.
                    if pads or not spreads:
                        value = chosen(way, straight, spread if pads else pad, of_head, weight)
                    else:
                        value = Mux(is_pw, weight, chosen(way, straight, spread, pad, of_head))
                    m.d.comb += macs.private[lane][s].eq(value)
            blocks.append(macs)
        return blocks

    def _elaborate_results(
        self,
        m: Module,
        queue: ResultQueue,
        blocks: list[MacBlock],
        task: data.View,
        dw_valid: Signal,
        dw_here: data.View,
        head_valid: Signal,
        head_here: data.View,
        k_words: data.View,
    ) -> None:
        config, payload = self.config, queue.payload
        is_pool = task.opcode == Opcode.POOL
        size = config.m

        # DW: all accumulators at once into a register that is read channel group by channel group. A shift register would take
        # a lookup table for each of its bits, this multiplexer three for each bit of one group.
        loaded = delayed(m, dw_valid & dw_here.last, blocks[0].own_latency, "loaded", reset=True)
        loaded_here = delayed(m, dw_here, blocks[0].own_latency, "loaded_beat")
        held = Signal(data.ArrayLayout(words(config, signed(OWN_BITS)), config.wide))
        steps, held_here = Signal.like(dw_here.steps), Signal.like(dw_here)
        # A folded channel group's next chunk comes after all groups of this one.
        place, next_place, next_chunk = Signal(range(config.wide)), Signal(range(config.wide)), Signal()
        m.d.comb += [
            next_place.eq(place + 1),
            next_chunk.eq(next_place & ((config.wide >> task.src_fold) - 1) == 0),
        ]
        with m.If(loaded):
            m.d.sync += [steps.eq(loaded_here.steps), held_here.eq(loaded_here), place.eq(0)]
            for block, macs in enumerate(blocks):
                for lane in range(config.t):
                    index = block * config.t + lane
                    m.d.sync += held[index // config.l][index % config.l].eq(macs.own_acc[lane])
        with m.Elif(steps != 0):
            m.d.sync += [
                steps.eq(steps - 1),
                place.eq(next_place),
                held_here.cg.eq(held_here.cg + 1),
                held_here.entry.eq(held_here.entry + 1),
            ]
            with m.If(next_chunk):
                m.d.sync += [
                    held_here.cg.eq(task.dst_cg),
                    held_here.entry.eq(0),
                    held_here.out_px.eq(held_here.out_px + config.l),
                    held_here.mask.eq(held_here.mask.as_value() >> config.l),
                ]

        # KTV: the blocks' sums as they are, or, in one more register, over half of all pixels.
        parts, latency = self._parts(config), self.ktv_latency(config)
        z_ended = delayed(m, head_valid & head_here.last & ~is_pool, latency, "z_ended", reset=True)
        z_here = delayed(m, head_here, latency, "z_beat")
        z_sums: dict[int, list[Value]] = {}
        if parts > 2:
            for first in (0, config.l // 2):
                for i in range(size):
                    of_half = blocks[first + i :: size][: parts // 2]
                    row = Signal(data.ArrayLayout(signed(ACC_BITS), config.t), name=f"z_row_{first + i}")
                    for j in range(config.t):
                        m.d.sync += row[j].eq(sum(macs.acc[j] for macs in of_half))
                    z_sums[first + i] = list(row)

        # Row sums: they may come in the same cycle as Z, so they wait in a register.
        m.submodules.row_sum = row_sum = RowSum(config)
        m.d.comb += [
            row_sum.valid.eq(head_valid & head_here.row_sum),
            row_sum.words.eq(k_words),
            row_sum.lanes.eq(head_here.lanes),
            row_sum.relu.eq(~is_pool),
            row_sum.first.eq(head_here.first),
            row_sum.last.eq(head_here.last),
        ]
        sum_here = delayed(m, head_here, row_sum.latency, "sum_beat")
        sums, sums_wait, sums_here = Signal.like(row_sum.sums), Signal(), Signal.like(head_here)
        with m.If(row_sum.o_valid):
            m.d.sync += [sums.eq(row_sum.sums), sums_here.eq(sum_here), sums_wait.eq(1)]
        with m.Elif(~z_ended):
            m.d.sync += sums_wait.eq(0)

        with m.If(self.joint.push):
            m.d.comb += queue.push.eq(1)
            for name in result_meta(config).members:
                if name != "turn":
                    m.d.comb += payload[name].eq(self.joint.meta[name])
        with m.Elif(steps != 0):
            m.d.comb += [
                queue.push.eq(1),
                payload.mask.eq(held_here.mask[0]),
                payload.px.eq(held_here.out_px),
                payload.cg.eq(held_here.cg),
                payload.entry.eq(held_here.entry),
                payload.seg_last.eq(held_here.seg_last & (steps == 1)),
                # Folded chunks take turns, so that no channel group is complete before the last result.
                payload.progress.eq(Mux((task.src_fold == 0) | (steps == 1), held_here.progress, 0)),
            ]
        with m.Elif(z_ended):
            m.d.comb += [
                queue.push.eq(1),
                payload.mask.eq(z_here.mask),
                payload.px.eq(z_here.k),
                payload.cg.eq(z_here.v),
                payload.entry.eq(z_here.entry),
            ]
        with m.Elif(sums_wait):
            m.d.comb += [
                queue.push.eq(1),
                payload.mask.eq(Mux(is_pool, sums_here.mask, 1)),
                payload.px.eq(Mux(is_pool, task.px_start, sums_here.k)),
                payload.cg.eq(sums_here.cg),
                payload.entry.eq(Mux(is_pool, sums_here.entry, sums_here.entry + 1)),
                payload.row_sum.eq(~is_pool),
            ]
        # Four ways make a lookup table for each bit; where Z has sums of its own, both halves of what is held are one of them. Of
        # no meaning where nothing is pushed.
        leaving, beside_z, middle = Signal(2), Signal(2), config.wide // 2
        of_blocks = self.joint.push | ((steps == 0) & z_ended)
        m.d.comb += [
            leaving.eq(Mux(of_blocks, 0, Mux(steps != 0, Mux(place[-1], 2, 1), 3))),
            beside_z.eq(Mux(self.joint.push, 0, Mux(steps != 0, 1, Mux(z_ended, 2, 3)))),
        ]
        for slot in range(config.l):
            for s in range(size):
                low, high = (chosen(place[:-1], *(held[c + of][slot][s] for c in range(middle))) for of in (0, middle))
                if slot in z_sums:
                    value = chosen(beside_z, blocks[slot].acc[s], Mux(place[-1], high, low), z_sums[slot][s], sums[s])
                else:
                    value = chosen(leaving, blocks[slot].acc[s], low, high, sums[s])
                m.d.comb += payload.acc[slot][s].eq(value)


__all__ = ["RMacEngine"]
