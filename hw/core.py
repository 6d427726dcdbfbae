"""The datapath: buffers, rings, engines and post-processing, without control and without AXI."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Buffer, Opcode
from hw.cost import Resources
from hw.engines.mat import MatEngine, RingReadSignature
from hw.engines.rmac import RMacEngine
from hw.interfaces import PIXEL_BITS, write_layout
from hw.io.load_aligner import LoadAligner
from hw.io.stream_decoder import param_word, weight_word
from hw.memory.act_buffer import ActBuffer
from hw.memory.bank_buffer import BankBuffer
from hw.memory.output_buffer import BeatReadSignature, OutputBuffer
from hw.memory.paired_ring import PairedRing, paired_write_layout
from hw.memory.placement import Placement
from hw.memory.reader import Reader
from hw.memory.row_banks import row_write_layout
from hw.memory.row_ring import RowRing
from hw.memory.shared_reads import SharedReads, deepest_rows, trunk_rows
from hw.memory.z_buffer import ZBuffer
from hw.units.post_processor import PostProcessor

#: What post-processing shows to simulations, passed on to the top.
TRACES = ("valid", "tag", "dst", "px", "cg", "mask", "split", "row_sum", "words")


class Core(wiring.Component):
    """Everything that calculates (docs/architecture.md, section 1).

    Members
    -------
    mat_start, rmac_start : In(1), task : In(DESCRIPTOR)
        A task for MAT or R-MAC, only while it is not occupied; a joint PW task needs both and is started by ``mat_start`` alone.
    rmac_pending : In(1)
        ``task`` is a DW that will be started next: from some cycle on to that of its start.
    mat_busy, rmac_busy : Out(1)
        Until the last result is readable.
    mat_occupied, rmac_occupied : Out(1)
        Until the next task can start, if it does not need the last results.
    mat_trailing, rmac_trailing : Out(1)
        Results of the task before the last one are not readable yet.
    mat_weights, rmac_weights, params : In(stream)
        Words for the rings; of the two for ``params`` R-MAC's is ring 1.
    load_valid : In(1), load : In(write_layout), load_ready : Out(1)
        LOAD's writes into D, taken when post-processing writes elsewhere.
    load_progress : In(PIXEL_BITS)
        Pixels of LOAD that can be read.
    load_consumes : Out(1), load_consumed : Out(PIXEL_BITS)
        Strobe: MAT has asked for all words of the pixels before ``load_consumed``, and a write that comes now is too late to be
        what it gets.
    store : In(BeatReadSignature)
        STORE's reads of the O buffer.
    written : Out(1)
        A result was written: a sign of life.
    trace_... : Out
        Every result as it is written (see :class:`hw.units.post_processor.PostProcessor`).
    stall_... : Out(1)
        Counter strobes: why an engine with work issued nothing.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        weight_stream = stream.Signature(row_write_layout(weight_word(config), config.l))
        param_stream = stream.Signature(paired_write_layout(param_word(config), config.l))
        self.post = PostProcessor(
            config, Reader.latency, param_latency=PairedRing.latency, buffer_write_latency=BankBuffer.write_latency
        )
        traces = {f"trace_{name}": Out(getattr(self.post, f"trace_{name}").shape()) for name in TRACES}
        super().__init__(
            {
                "mat_start": In(1),
                "rmac_start": In(1),
                "task": In(DESCRIPTOR),
                "rmac_pending": In(1),
                "mat_busy": Out(1),
                "rmac_busy": Out(1),
                "mat_occupied": Out(1),
                "rmac_occupied": Out(1),
                "mat_trailing": Out(1),
                "rmac_trailing": Out(1),
                "mat_weights": In(weight_stream),
                "rmac_weights": In(weight_stream),
                "params": In(param_stream),
                "load_valid": In(1),
                "load": In(write_layout(config)),
                "load_ready": Out(1),
                "load_progress": In(PIXEL_BITS),
                "load_consumes": Out(1),
                "load_consumed": Out(PIXEL_BITS),
                "store": In(BeatReadSignature(config)),
                "written": Out(1),
                "stall_mat_weights": Out(1),
                "stall_mat_results": Out(1),
                "stall_mat_progress": Out(1),
                "stall_rmac_weights": Out(1),
                "stall_rmac_results": Out(1),
                **traces,
            }
        )

    #: Cycles from a read of the O buffer to its data.
    store_latency = OutputBuffer.read_latency

    @staticmethod
    def resources(config: AcceleratorConfig) -> dict[str, Resources]:
        """What each part costs."""
        weights = RowRing.resources(config.l, weight_word(config), config.weight_rows)
        return {
            "MAT engine": MatEngine.resources(config),
            "R-MAC engine": RMacEngine.resources(config),
            "post-processing": PostProcessor.resources(config),
            "weight rings": weights * 2,
            "parameter rings": PairedRing.resources(config.l, param_word(config), config.param_depths),
            "placement": Placement.resources(config) + LoadAligner.resources(config),
            "Z buffer": ZBuffer.resources(config),
            "X buffer": BankBuffer.resources(config, config.x_rows),
            "Y buffer": BankBuffer.resources(config, config.y_rows),
            "D buffer": BankBuffer.resources(config, config.d_rows),
            "readers": Reader.resources(deepest_rows(config)) + Reader.resources(trunk_rows(config)),
            "H buffer": ActBuffer.resources(config, config.h_rows // config.wide, config.wide),
            "O buffer": OutputBuffer.resources(config),
        }

    def elaborate(self, platform: object) -> Module:
        """Parts, then rings, then buffers."""
        m = Module()
        config = self.config
        m.submodules.post = post = self.post
        m.submodules.mat = mat = MatEngine(config, Reader.latency)
        m.submodules.rmac = rmac = RMacEngine(config, ActBuffer.read_latency)
        m.submodules.z_buffer = z_buffer = ZBuffer(config)
        wiring.connect(m, mat.joint, rmac.joint)
        wiring.connect(m, mat.result, post.mat)
        wiring.connect(m, rmac.result, post.rmac)

        joint = (self.task.opcode == Opcode.PW) & self.task.joint
        m.d.comb += [
            mat.start.eq(self.mat_start),
            mat.task.eq(self.task),
            rmac.start.eq(self.rmac_start | (self.mat_start & joint)),
            rmac.task.eq(self.task),
            rmac.pending.eq(self.rmac_pending),
            self.mat_busy.eq(mat.busy),
            self.rmac_busy.eq(rmac.busy),
            self.mat_occupied.eq(mat.occupied),
            self.rmac_occupied.eq(rmac.occupied),
            self.mat_trailing.eq(mat.trailing),
            self.rmac_trailing.eq(rmac.trailing),
            mat.retired.eq(post.mat_retired),
            rmac.retired.eq(post.rmac_retired),
            mat.progress.eq(post.rmac_progress),
            mat.begun.eq(post.rmac_begun),
            mat.begun_groups.eq(post.rmac_begun_groups),
            mat.load_progress.eq(self.load_progress),
            self.load_consumes.eq(mat.load_consumes),
            self.load_consumed.eq(mat.load_consumed),
            post.depthwise_start.eq(rmac.start & (self.task.opcode == Opcode.DW)),
            post.rmac_turn.eq(rmac.turn),
            post.mat_tasks.eq(mat.tasks),
            post.rmac_tasks.eq(rmac.tasks),
            self.written.eq(post.trace_valid),
            self.stall_mat_weights.eq(mat.stall_weights),
            self.stall_mat_results.eq(mat.stall_results),
            self.stall_mat_progress.eq(mat.stall_progress),
            self.stall_rmac_weights.eq(rmac.stall_weights),
            self.stall_rmac_results.eq(rmac.stall_results),
            z_buffer.read_row.eq(mat.z_row),
            mat.z.eq(z_buffer.z),
            mat.z_low.eq(z_buffer.z_low),
            mat.ksum.eq(z_buffer.ksum),
            mat.ksum_low.eq(z_buffer.ksum_low),
            z_buffer.write_valid.eq(post.z_write.valid),
            z_buffer.write_row.eq(post.z_write.row),
            z_buffer.write_j.eq(post.z_write.j),
            z_buffer.write_ksum.eq(post.z_write.ksum),
            z_buffer.rows.eq(post.z_write.rows),
            z_buffer.rows_low.eq(post.z_write.rows_low),
        ]
        for name in TRACES:
            m.d.comb += Value.cast(getattr(self, f"trace_{name}")).eq(Value.cast(getattr(post, f"trace_{name}")))
        self._elaborate_rings(m, mat, rmac, post)
        self._elaborate_buffers(m, mat, rmac, post)
        return m

    def _elaborate_rings(self, m: Module, mat: MatEngine, rmac: RMacEngine, post: PostProcessor) -> None:
        config = self.config
        m.submodules.param_ring = params = PairedRing(config.l, param_word(config), config.param_depths)
        wiring.connect(m, wiring.flipped(self.params), params.i)
        m.d.comb += [
            params.en.eq(post.param.en),
            params.ring.eq(post.param.rmac),
            params.offset.eq(post.param.offset),
            post.param.row.eq(params.row),
        ]
        for place, (name, engine) in enumerate((("mat", mat), ("rmac", rmac))):
            m.d.comb += [engine.params_filled.eq(params.filled[place]), params.free[place].eq(engine.params_free)]
            m.submodules[f"{name}_weight_ring"] = ring = RowRing(config.l, weight_word(config), config.weight_rows)
            wiring.connect(m, wiring.flipped(getattr(self, f"{name}_weights")), ring.i)
            use: RingReadSignature = engine.weights
            m.d.comb += [
                ring.en.eq(use.en),
                ring.offset.eq(use.offset),
                use.row.eq(ring.row),
                use.filled.eq(ring.filled),
                ring.free.eq(use.free),
            ]

    def _elaborate_buffers(self, m: Module, mat: MatEngine, rmac: RMacEngine, post: PostProcessor) -> None:
        config = self.config
        m.submodules.x_buffer = x = BankBuffer(config, config.x_rows)
        m.submodules.y_buffer = y = BankBuffer(config, config.y_rows)
        m.submodules.d_buffer = d = BankBuffer(config, config.d_rows)
        m.submodules.h_buffer = h = ActBuffer(config, config.h_rows // config.wide, config.wide)
        m.submodules.o_buffer = o = OutputBuffer(config)
        m.submodules.placement = placement = Placement(config)
        m.submodules.load_aligner = aligner = LoadAligner(config)

        m.d.comb += [placement.write.eq(post.write.payload), aligner.placed.eq(placement.placed)]
        for buffer, place in ((x, Buffer.X), (y, Buffer.Y), (d, Buffer.D), (h, Buffer.H), (o, Buffer.O)):
            first, second = Signal(name=f"first_{place.name}"), Signal(name=f"second_{place.name}")
            valid, base = first | second, Mux(first, post.write.payload.base, post.write2.base)
            if place is Buffer.D:
                m.d.comb += [self.load_ready.eq(~valid), aligner.valid.eq(self.load_valid & ~valid), aligner.load.eq(self.load)]
                valid, base = valid | self.load_valid, Mux(valid, base, self.load.base)
            m.d.comb += [
                first.eq(post.write.valid & (post.write_dst == place)),
                second.eq(post.write2.valid & (post.write2_dst == place)),
                buffer.write.valid.eq(valid),
                buffer.write.base.eq(base),
                buffer.write.placed.eq(aligner.o if place is Buffer.D else placement.placed),
            ]
        m.d.comb += [getattr(h.write, name).eq(post.write.payload[name]) for name in ("px", "cg", "rows", "fold", "ring")]
        m.d.comb += [o.upper.eq(post.write_upper), o.amount.eq(placement.amount)]

        wiring.connect(m, rmac.read, h.read)
        m.submodules.mat_reader = mat_reader = Reader(config, deepest_rows(config), spreads=False)
        m.submodules.residual_reader = residual_reader = Reader(config, trunk_rows(config))
        m.submodules.shared_reads = shared = SharedReads(config)
        wiring.connect(m, mat.read, mat_reader.read)
        wiring.connect(m, post.residual, residual_reader.read)
        wiring.connect(m, mat_reader.banks, shared.mat)
        wiring.connect(m, residual_reader.banks, shared.residual)
        wiring.connect(m, shared.x, x.read)
        wiring.connect(m, shared.y, y.read)
        wiring.connect(m, shared.d, d.read)
        m.d.comb += [
            shared.mat_src.eq(mat.read_src),
            shared.residual_valid.eq(post.residual.valid),
            shared.residual_src.eq(post.residual_src),
        ]
        wiring.connect(m, wiring.flipped(self.store), o.read)
