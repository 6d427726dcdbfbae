"""R-MAC's loop nest for attention heads (K^T V and the row sum of K) and for average pooling."""

from amaranth import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Opcode
from hw.interfaces import GROUP_BITS, PIXEL_BITS, entry_bits


def head_beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """``l`` pixels of a K group and a V group, or of a group to pool."""
    return data.StructLayout(
        {
            "px": PIXEL_BITS,
            "k_cg": GROUP_BITS,  # channel group of K, or pooled
            "v_cg": GROUP_BITS,
            "first": 1,
            "last": 1,
            "row_sum": 1,  # this pass also sums the rows
            "lanes": config.l,  # pixels that exist
            "k": PIXEL_BITS,  # row of Z, from the task's first: K groups of all heads counted through
            "v": GROUP_BITS,  # group of V within the head
            "cg": GROUP_BITS,  # POOL: first channel group of the result
            "entry": entry_bits(config),
            "mask": config.l,
        }
    )


class HeadSequencer(wiring.Component):
    """Walks KTV tasks (heads, K groups, V groups, pixels) and POOL tasks (groups, pixels); one beat a cycle.

    Members
    -------
    start, task, busy, beat_valid, beat : see :class:`hw.engines.mat_sequencer.MatSequencer`
    params, space : In
        Entries of the parameter ring, room in the result queue.
    issue : Out
        Results reserved in this cycle: one, or two where a pass gives Z and Ks.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "task": In(DESCRIPTOR),
                "busy": Out(1),
                "params": In(range(config.rmac_param_rows + 1)),
                "space": In(range(config.result_depth + 1)),
                "issue": Out(2),
                "beat_valid": Out(1),
                "beat": Out(head_beat_layout(config)),
                "stall_results": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Loop counters and the beat."""
        m = Module()
        config, task = self.config, self.task
        lanes, bits = config.l, exact_log2(config.l)
        pool = task.opcode == Opcode.POOL
        px, k, v = Signal(PIXEL_BITS), Signal(GROUP_BITS), Signal(GROUP_BITS)
        head, head_cg, row = Signal(DESCRIPTOR["heads"].width), Signal(GROUP_BITS), Signal(PIXEL_BITS)
        left = Signal(signed(PIXEL_BITS + 1))
        m.d.comb += left.eq(task.px_end - px)
        last_px = left <= lanes
        last_v = pool | (v == task.tiles - 1)
        last_k = k == task.tiles - 1
        last_head = pool | (head == task.heads - 1)
        sums = Signal()
        m.d.comb += sums.eq(pool | (v == 0))
        results = Mux(pool, 1, 1 + sums)
        rows = Mux(pool, k >> bits, head << 1 | 1) + 1
        # Two results of one pass need two cycles of the queue.
        pause, has_room, go = Signal(), Signal(), Signal()
        m.d.sync += pause.eq(go & last_px & sums & ~pool)
        m.d.comb += [
            has_room.eq(~last_px | ((self.space >= results) & (self.params >= rows))),
            go.eq(self.busy & has_room & ~pause),
            self.issue.eq(Mux(go & last_px, results, 0)),
            self.stall_results.eq(self.busy & ~has_room),
        ]
        exists, slot = Signal(lanes), Signal(lanes)
        for i in range(lanes):
            m.d.comb += [exists[i].eq(Const(i, bits + 1) < left), slot[i].eq(Mux(pool, k[:bits] == i, i < config.m))]
        m.d.sync += [
            self.beat_valid.eq(go),
            self.beat.px.eq(px),
            self.beat.k_cg.eq(task.src_cg + head_cg + k),
            self.beat.v_cg.eq(task.v_cg + head_cg + v),
            self.beat.first.eq(px == 0),
            self.beat.last.eq(last_px),
            self.beat.row_sum.eq(sums),
            self.beat.lanes.eq(exists),
            self.beat.k.eq(row),
            self.beat.v.eq(v),
            self.beat.cg.eq(task.dst_cg + ((k >> bits) << bits)),
            self.beat.entry.eq(Mux(pool, k >> bits, head << 1)),
            self.beat.mask.eq(slot),
        ]
        with m.If(go):
            m.d.sync += px.eq(Mux(last_px, 0, px + lanes))
            with m.If(last_px):
                m.d.sync += v.eq(Mux(last_v, 0, v + 1))
                with m.If(last_v):
                    m.d.sync += [k.eq(Mux(last_k, 0, k + 1)), row.eq(row + 1)]
                    with m.If(last_k):
                        m.d.sync += [head.eq(head + 1), head_cg.eq(head_cg + task.src_step), self.busy.eq(~last_head)]
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), px.eq(0), k.eq(0), v.eq(0), head.eq(0), head_cg.eq(0), row.eq(0)]
        return m
