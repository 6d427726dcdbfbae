"""The MAT engine: L blocks of N adder trees of M inputs (arXiv 2405.03882, section IV)."""

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Buffer, Opcode
from hw.cost import Resources
from hw.delay import delayed
from hw.engines.mac_block import MacBlock
from hw.engines.mat_operands import OPERAND_TASK, MatOperands, weight_row
from hw.engines.mat_sequencer import MatSequencer
from hw.engines.result_queue import ResultQueue
from hw.engines.task_state import TaskState
from hw.interfaces import GROUP_BITS, PIXEL_BITS, POST_TASK, ReadSignature, entry_bits, result_layout, words
from hw.memory.row_ring import RowRing
from hw.memory.z_buffer import ksum_layout, z_layout
from hw.units.layer_norm import LayerNormCore
from quant.contract import GAMMA_BITS, LOW_BITS


def result_meta(config: AcceleratorConfig) -> data.StructLayout:
    """Where a result belongs: the fields of a result but its accumulators."""
    fields = result_layout(config).members
    return data.StructLayout({name: shape for name, shape in fields.items() if name != "acc"})


#: What of a task the array needs when a word arrives.
_ARRAY_FIELDS = ("opcode", "joint", "lp", "relu", "wide", "count")


class JointSignature(wiring.Signature):
    """What MAT tells R-MAC while both work on one PW task.

    Members
    -------
    en, offset, free : Out
        Reads and releases of the weight ring.
    leave : Out
        Rows that will be released: no beat needs them any more.
    x : Out(words)
        The word of every block, a cycle after its weights come out of the ring.
    valid, first : Out(1)
        The weights' words count; they start a sum.
    issue : Out(1)
        A result is reserved.
    push : Out(1), meta : Out(result_meta)
        The sums are complete, and where they belong.
    used : Out(1), entry : Out
        A beat uses this entry of the parameter ring.
    sequencing : Out(1)
        More beats will come.
    weights, params, space : In
        State of R-MAC's rings and queue; ``weights`` are without rows that left in a cycle before.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "en": Out(1),
                "offset": Out(ceil_log2(config.weight_rows)),
                "free": Out(range(config.weight_rows + 1)),
                "leave": Out(range(config.weight_rows + 1)),
                "x": Out(words(config)),
                "valid": Out(1),
                "first": Out(1),
                "issue": Out(1),
                "push": Out(1),
                "meta": Out(result_meta(config)),
                "used": Out(1),
                "entry": Out(entry_bits(config)),
                "sequencing": Out(1),
                "weights": In(range(config.weight_rows + 1)),
                "params": In(range(config.rmac_param_rows + 1)),
                "space": In(1),
            }
        )


class RingReadSignature(wiring.Signature):
    """The reading side of a ring, as an engine drives it.

    Members
    -------
    en : Out(1), offset : Out
        Read the row ``offset`` rows from the base.
    row : In(shape)
        Two cycles later.
    filled : In
        Complete rows from the base.
    free : Out
        Rows to release.
    """

    def __init__(self, shape: object, depth: int):
        super().__init__(
            {
                "en": Out(1),
                "offset": Out(ceil_log2(depth)),
                "row": In(shape),
                "filled": In(range(depth + 1)),
                "free": Out(range(depth + 1)),
            }
        )


class MatEngine(wiring.Component):
    """Runs PW, QZ, DIV and LN tasks (docs/architecture.md, sections 3 and 4).

    Members
    -------
    start : In(1), task : In(DESCRIPTOR)
        A task, only while not ``occupied``.
    busy : Out(1)
        Until its last result has been retired.
    occupied : Out(1)
        Until its last beat has been issued and the results of the task before it have been retired; LN as long as ``busy``.
    trailing : Out(1)
        Results of the task before the last one are on their way.
    tasks : Out(ArrayLayout(POST_TASK, 2))
        What post-processing needs of the last two tasks, by their results' ``turn``.
    read : Out(ReadSignature), read_src : Out(Buffer)
        Reads of X, Y or D; the answer must come after ``read_latency`` cycles.
    weights : Out(RingReadSignature)
        MAT's weight ring.
    params_filled : In, params_free : Out
        MAT's parameter ring; post-processing reads it.
    z, z_low, ksum, ksum_low : In(...)
        The Z buffer's row ``z_row``: both parts of K^T V and of the sums of K.
    progress, load_progress : In
        Completed pixels of the R-MAC task, and of LOAD.
    begun, begun_groups : In
        Pixels with the R-MAC task's segment under way, and the channel groups of them that are complete.
    load_consumes, load_consumed : Out
        As :class:`hw.engines.mat_sequencer.MatSequencer` has them: what LOAD may overwrite.
    retired : In(1)
        A result of MAT has been written.
    result : Out(stream)
        To post-processing.
    joint : Out(JointSignature)
        To R-MAC.
    stall_weights, stall_results, stall_progress : Out(1)
        Counter strobes.
    """

    def __init__(self, config: AcceleratorConfig, read_latency: int):
        self.config = config
        self.read_latency = read_latency
        super().__init__(
            {
                "start": In(1),
                "task": In(DESCRIPTOR),
                "busy": Out(1),
                "occupied": Out(1),
                "trailing": Out(1),
                "tasks": Out(data.ArrayLayout(POST_TASK, 2)),
                "read": Out(ReadSignature(config)),
                "read_src": Out(Buffer),
                "weights": Out(RingReadSignature(weight_row(config), config.weight_rows)),
                "params_filled": In(range(config.mat_param_rows + 1)),
                "params_free": Out(range(config.mat_param_rows + 1)),
                "z_row": Out(ceil_log2(config.z_rows)),
                "z": In(z_layout(config)),
                "z_low": In(z_layout(config, unsigned(LOW_BITS))),
                "ksum": In(ksum_layout(config)),
                "ksum_low": In(ksum_layout(config)),
                "progress": In(PIXEL_BITS),
                "begun": In(PIXEL_BITS),
                "begun_groups": In(GROUP_BITS + 1),
                "load_progress": In(PIXEL_BITS),
                "load_consumes": Out(1),
                "load_consumed": Out(PIXEL_BITS),
                "retired": In(1),
                "result": Out(stream.Signature(result_layout(config))),
                "joint": Out(JointSignature(config)),
                "stall_weights": Out(1),
                "stall_results": Out(1),
                "stall_progress": Out(1),
            }
        )

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The array, LayerNorm and the queue."""
        array = MacBlock.resources(config.n, config.m) * config.l
        return array + LayerNormCore.resources(config) + ResultQueue.resources(config)

    def elaborate(self, platform: object) -> Module:
        """Sequencer, rings, array, LayerNorm and results."""
        m = Module()
        config = self.config
        m.submodules.sequencer = sequencer = MatSequencer(config)
        m.submodules.queue = queue = ResultQueue(config)
        wiring.connect(m, wiring.flipped(self.result), queue.o)

        m.submodules.state = state = TaskState(config, config.mat_param_rows)
        task = state.running
        sequencing = state.started | sequencer.busy
        m.d.comb += [
            state.start.eq(self.start),
            state.task.eq(self.task),
            state.sequencing.eq(sequencing),
            # LayerNorm has one task's number of elements until its results have been written.
            state.settled.eq(task.opcode != Opcode.LN),
            state.pending.eq(queue.pending),
            state.results_idle.eq(queue.idle),
            state.retired.eq(self.retired),
            state.left.eq(queue.o.valid & queue.o.ready & (queue.o.payload.turn == state.turn)),
            state.filled.eq(self.params_filled),
            state.used.eq(sequencer.beat_valid),
            state.entry.eq(sequencer.beat.entry),
            self.tasks.eq(state.tasks),
            self.busy.eq(state.busy),
            self.occupied.eq(state.occupied),
            self.trailing.eq(state.trailing),
            self.params_free.eq(state.params_free),
            sequencer.start.eq(state.started),
            sequencer.task.eq(task),
            sequencer.progress.eq(Mux(task.behind_load, self.load_progress, self.progress)),
            sequencer.begun.eq(Mux(task.behind_load, 0, self.begun)),
            sequencer.begun_groups.eq(self.begun_groups),
            self.load_consumes.eq(sequencer.consumes),
            self.load_consumed.eq(sequencer.consumed),
            queue.retired.eq(self.retired),
            self.stall_weights.eq(sequencer.stall_weights),
            self.stall_results.eq(sequencer.stall_results),
            self.stall_progress.eq(sequencer.stall_progress),
        ]

        beat, beat_valid = sequencer.beat, sequencer.beat_valid
        m.d.comb += [
            self.read.valid.eq(beat_valid),
            self.read.px.eq(beat.px),
            self.read.cg.eq(beat.src_cg),
            self.read.base.eq(task.src_base),
            self.read.rows.eq(task.src_rows),
            self.read.skew.eq(task.src_skew),
            self.read.ring.eq(task.src_ring),
            self.read_src.eq(task.src),
        ]
        self._elaborate_rings(m, sequencer, queue, state)
        # What comes from the buffers meets the task that asked for it, which may no longer be the running one.
        arrive = self.read_latency
        valid = delayed(m, beat_valid, arrive, "valid", reset=True)
        here = delayed(m, beat, arrive, "beat")
        asked = Signal(data.StructLayout({**{name: DESCRIPTOR[name].shape for name in _ARRAY_FIELDS}, "turn": 1}))
        m.d.comb += [*(asked[name].eq(task[name]) for name in _ARRAY_FIELDS), asked.turn.eq(state.turn)]
        ahead = delayed(m, asked, arrive - 1, "task")
        task_here = delayed(m, ahead, 1, "task_here")
        blocks = self._elaborate_array(m, ahead, task_here, valid, here)
        self._elaborate_results(m, queue, sequencer, task_here, blocks, valid, here)
        m.d.comb += [
            self.joint.sequencing.eq(sequencing & task.joint),
            self.joint.used.eq(beat_valid & task.joint),
            self.joint.entry.eq(beat.entry),
        ]
        return m

    def _elaborate_rings(self, m: Module, sequencer: MatSequencer, queue: ResultQueue, state: TaskState) -> None:
        task = state.running
        # The row must come out with the word, so the ring is read later than the buffer; what a beat releases is released then.
        wait = self.read_latency - RowRing.latency
        en, offset = (
            delayed(m, sequencer.beat_valid, wait, "ring_en", reset=True),
            delayed(m, sequencer.beat.offset, wait, "ring_offset"),
        )
        free = delayed(m, sequencer.free, wait, "ring_free", reset=True)
        joint, z_row = delayed(m, task.joint, wait, "ring_joint"), delayed(m, task.z_row, wait, "ring_z_row")
        leaving = Signal.like(self.weights.filled)
        m.d.sync += leaving.eq(leaving + sequencer.free - free)
        mine, joints = Signal.like(self.weights.filled), Signal.like(self.weights.filled)
        m.d.comb += [
            self.weights.en.eq(en),
            self.weights.offset.eq(offset),
            self.weights.free.eq(free),
            mine.eq(self.weights.filled - leaving - sequencer.free),
            # R-MAC's ring has had no rows of a task of MAT's alone.
            joints.eq(self.joint.weights - self.joint.leave),
            sequencer.weights.eq(Mux(task.joint & (joints < mine), joints, mine)),
            sequencer.params.eq(
                Mux(task.joint & (self.joint.params < state.params), self.joint.params, state.params)
            ),
            sequencer.ready.eq((queue.space != 0) & (~task.joint | self.joint.space)),
            queue.issue.eq(sequencer.issue),
            self.joint.en.eq(en & joint),
            self.joint.offset.eq(offset),
            self.joint.free.eq(Mux(joint, free, 0)),
            self.joint.leave.eq(Mux(task.joint, sequencer.free, 0)),
            self.joint.issue.eq(sequencer.issue & task.joint),
            self.z_row.eq(z_row + offset),
        ]

    def _elaborate_array(self, m: Module, ahead: data.View, task: data.View, valid: Signal, here: data.View) -> list[MacBlock]:
        config, blocks = self.config, []
        m.submodules.operands = operands = MatOperands(config)
        m.d.comb += [
            *(operands.ahead[name].eq(getattr(ahead, name)) for name in OPERAND_TASK.members),
            operands.words.eq(self.read.data),
            operands.weights.eq(self.weights.row),
            operands.z.eq(self.z),
            operands.z_low.eq(self.z_low),
            operands.ksum.eq(self.ksum),
            operands.ksum_low.eq(self.ksum_low),
            self.joint.x.eq(operands.x),
            self.joint.valid.eq(valid & task.joint),
            self.joint.first.eq(here.first),
        ]
        for block in range(config.l):
            m.submodules[f"block_{block}"] = macs = MacBlock(config.n, config.m)
            m.d.comb += [
                macs.valid.eq(valid),
                macs.first.eq(here.first),
                macs.shared.eq(operands.x[block]),
                macs.private.eq(operands.private[block]),
            ]
            blocks.append(macs)
        return blocks

    def _elaborate_results(
        self,
        m: Module,
        queue: ResultQueue,
        sequencer: MatSequencer,
        task: data.View,
        blocks: list[MacBlock],
        valid: Signal,
        here: data.View,
    ) -> None:
        config = self.config
        is_ln = task.opcode == Opcode.LN
        m.submodules.layer_norm = norm = LayerNormCore(config)
        lanes = Signal(config.m)
        for c in range(config.m):
            m.d.comb += lanes[c].eq(here.k * config.m + c < task.count)
        gamma_row = Signal(weight_row(config).elem_shape)
        slots = config.l.bit_length() - 1
        with m.Switch(here.k[:slots]):
            for block in range(config.l):
                with m.Case(block):
                    m.d.comb += gamma_row.eq(self.weights.row[block])
        m.d.comb += [
            norm.count.eq(task.count),
            # While a vector is normalized, the words of the second next one are summed.
            norm.sum_word.eq(Mux(here.second, self.read.data[2], self.read.data[0])),
            norm.sum_lanes.eq(lanes),
            norm.sum_valid.eq(valid & is_ln & here.sums),
            norm.sum_first.eq(here.first),
            norm.norm_word.eq(self.read.data[0]),
            norm.norm_valid.eq(valid & is_ln & here.second),
            norm.last.eq(valid & is_ln & here.last),
            sequencer.ln_done.eq(norm.done),
        ]
        for c in range(config.m):
            m.d.comb += norm.norm_gamma[c].eq(
                Cat(gamma_row[0][c].as_unsigned(), gamma_row[1][c].as_unsigned())[:GAMMA_BITS].as_signed()
            )

        tree = blocks[0].tree_latency
        meta = Signal(result_meta(config))
        m.d.comb += [meta.mask.eq(here.mask), meta.px.eq(here.px), meta.cg.eq(here.cg), meta.entry.eq(here.entry)]
        m.d.comb += meta.turn.eq(task.turn)
        ended = delayed(m, valid & here.last & ~is_ln, tree, "ended", reset=True)
        meta_tree, meta_norm = delayed(m, meta, tree, "meta"), delayed(m, meta, norm.latency, "norm_meta")
        m.d.comb += queue.push.eq(ended | norm.o_valid)
        chosen = Signal(result_meta(config))
        m.d.comb += chosen.eq(Mux(norm.o_valid, meta_norm, meta_tree))
        for name in result_meta(config).members:
            m.d.comb += queue.payload[name].eq(chosen[name])
        for block, macs in enumerate(blocks):
            for n in range(config.n):
                # LayerNorm's words go out in slot 0, one a result.
                m.d.comb += queue.payload.acc[block][n].eq(macs.acc[n] if block else Mux(norm.o_valid, norm.o[n], macs.acc[n]))
        # R-MAC's half of a joint tile lies one set of channel slots further.
        m.d.comb += [
            self.joint.push.eq(ended & delayed(m, task.joint, tree, "push_joint")),
            self.joint.meta.eq(meta_tree),
            self.joint.meta.cg.eq(meta_tree.cg + (Const(config.l) >> delayed(m, task.lp, tree, "push_lp"))),
        ]
