"""R-MAC's loop nest for depthwise convolution: segments of pixels, sets of channel groups, taps."""

from amaranth import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, MAX_FOLD
from hw.engines.dw_lanes import DwLanes
from hw.interfaces import GROUP_BITS, PIXEL_BITS, entry_bits


def dw_beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One tap of one segment and set."""
    return data.StructLayout(
        {
            "px": signed(PIXEL_BITS + 2),  # input pixel of lane 0
            "src_cg": GROUP_BITS,  # first channel group of the set, in the source
            "offset": ceil_log2(config.weight_rows),  # weight row, from the ring's base
            "lane": range(config.taps_per_row),  # lane of the row that holds the tap
            "first": 1,
            "last": 1,
            "outside": data.ArrayLayout(config.l, config.wide),  # lanes that read beyond the map, for each group of lanes
            "steps": range(config.wide + 1),  # channel groups of the set; results
            "out_px": PIXEL_BITS,  # first output pixel
            "cg": GROUP_BITS,  # first channel group of the result
            "entry": entry_bits(config),
            "mask": data.ArrayLayout(config.l, 1 << MAX_FOLD),  # pixels that exist, chunk by chunk
            "seg_last": 1,
            "progress": PIXEL_BITS,
        }
    )


class DwSequencer(wiring.Component):
    """Walks a DW task (docs/architecture.md, section 3).

    At stride 1 a segment is ``l`` consecutive pixels of the flattened map; at stride 2 up to ``l / 2`` pixels of one row. Where
    channel groups are folded (stride 1, ``fold`` = ``src_fold``) a segment is ``l << fold`` pixels: chunk ``j`` of them belongs
    to the ``wide >> fold`` groups of lanes from ``j * (wide >> fold)`` on, and all ``wide`` are results, of which those beyond
    the channel groups are not written. A task may begin with any row of the output map, ``y_start``.

    The first segment's coordinates come one pixel a cycle (`hw.engines.dw_lanes`): while the task waits to be dispatched, as soon
    as the one before has issued its last beat. A task dispatched :meth:`setup_cycles` later, or still later, begins like another
    sequencer's.

    Members
    -------
    start, task, busy, beat_valid, beat, free : see :class:`hw.engines.mat_sequencer.MatSequencer`
    pending : In(1), coming : In(DESCRIPTOR)
        ``coming`` will be the next task: from some cycle on to its dispatch, one cycle before ``start``.
    weights, params, space : In
        Rows of the rings and room in the result queue.
    issue : Out
        Results reserved in this cycle.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "task": In(DESCRIPTOR),
                "pending": In(1),
                "coming": In(DESCRIPTOR),
                "busy": Out(1),
                "weights": In(range(config.weight_rows + 1)),
                "params": In(range(config.rmac_param_rows + 1)),
                "space": In(range(config.result_depth + 1)),
                "issue": Out(range(config.wide + 1)),
                "beat_valid": Out(1),
                "beat": Out(dw_beat_layout(config)),
                "free": Out(range(config.weight_rows + 1)),
                "stall_weights": Out(1),
                "stall_results": Out(1),
            }
        )

    @staticmethod
    def setup_cycles(config: AcceleratorConfig, fold: int = 0) -> int:
        """Cycles for which a task has to be pending before its dispatch, without another one's beats, not to begin later."""
        return config.l << fold

    def elaborate(self, platform: object) -> Module:
        """Loop counters, lanes and the beat."""
        m = Module()
        config, task = self.config, self.task
        wide, bits = config.wide, exact_log2(config.l)
        two, fold = task.stride == 2, task.src_fold

        m.submodules.lanes = lanes = DwLanes(config)
        prepared, late, running, begin = Signal(), Signal(), Signal(), Signal()
        out_px = Signal(PIXEL_BITS)
        origin = Signal(signed(PIXEL_BITS + 2))  # input pixel under lane 0's centre tap
        line = Signal(signed(PIXEL_BITS + 2))  # the same at the row's first segment (stride 2)
        set_index, set_cg = Signal(DESCRIPTOR["tiles"].width), Signal(GROUP_BITS)
        ky, kx, tap_px = Signal(3), Signal(3), Signal(signed(PIXEL_BITS + 2))
        row, tap_lane = Signal(ceil_log2(config.weight_rows)), Signal(range(config.taps_per_row))
        radius = Signal(2)
        m.d.comb += radius.eq(task.kernel >> 1)

        last_kx, last_ky = kx == task.kernel - 1, ky == task.kernel - 1
        last_tap = Signal()
        m.d.comb += last_tap.eq(last_kx & last_ky)
        row_done = Signal()
        m.d.comb += row_done.eq(last_tap | (tap_lane == config.taps_per_row - 1))
        last_set = set_index == task.tiles - 1
        left = Signal(signed(PIXEL_BITS + 1))
        m.d.comb += left.eq(task.px_end - out_px)
        left_in_row, row_end = Signal(DESCRIPTOR["w_out"].width), Signal()
        m.d.comb += row_end.eq(left_in_row <= config.l // 2)
        whole, pixels = Signal(bits + MAX_FOLD + 1), Signal(bits + MAX_FOLD + 1)
        m.d.comb += whole.eq(Const(config.l) << fold)
        m.d.comb += pixels.eq(Mux(two, Mux(row_end, left_in_row, config.l // 2), whole))
        last_segment = Signal()
        m.d.comb += last_segment.eq(left <= pixels)

        groups_left = Signal(signed(GROUP_BITS + 1))
        steps = Signal(range(wide + 1))
        m.d.comb += [
            groups_left.eq(task.dst_cg_end - task.dst_cg - set_cg),
            steps.eq(Mux((groups_left < wide) & (fold == 0), groups_left, wide)),
        ]
        # Folded channel groups have a row each, whichever of them exist.
        rows = Signal.like(self.params)
        m.d.comb += rows.eq(Mux(fold == 0, set_cg + steps, Const(wide) >> fold))
        has_weights, has_room, go = Signal(), Signal(), Signal()
        m.d.comb += [
            has_weights.eq(self.weights > row),
            has_room.eq(~last_tap | ((self.space >= steps) & (self.params >= rows))),
            go.eq(running & has_weights & has_room),
            self.issue.eq(Mux(go & last_tap, steps, 0)),
            self.busy.eq(late | running),
            self.stall_weights.eq(running & ~has_weights),
            self.stall_results.eq(running & has_weights & ~has_room),
        ]

        # What is left is more than the mask can count, or the segment ends with it.
        limit, mask = Signal(len(pixels)), Signal(config.l << MAX_FOLD)
        m.d.comb += [limit.eq(Mux(last_segment, left, pixels)), *(bit.eq(i < limit) for i, bit in enumerate(mask))]
        m.d.comb += [
            # Neither for a task that is prepared, nor while another one needs the lanes.
            lanes.start.eq(self.pending & ~prepared & ~late & ~running),
            lanes.task.eq(self.coming),
            begin.eq((self.start | late) & lanes.ready),
            lanes.move.eq(begin | (go & last_tap & last_set)),
            lanes.row_end.eq(row_end),
            lanes.ky.eq(ky),
            lanes.kx.eq(kx),
        ]
        progress = Signal(PIXEL_BITS)
        m.d.comb += progress.eq(Mux(last_segment, task.px_end, out_px + pixels))
        m.d.sync += [
            self.beat_valid.eq(go),
            self.beat.px.eq(tap_px),
            self.beat.src_cg.eq(task.src_cg + set_cg),
            self.beat.offset.eq(row),
            self.beat.lane.eq(tap_lane),
            self.beat.first.eq((ky == 0) & (kx == 0)),
            self.beat.last.eq(last_tap),
            self.beat.outside.eq(lanes.outside),
            self.beat.steps.eq(steps),
            self.beat.out_px.eq(out_px),
            self.beat.cg.eq(task.dst_cg + set_cg),
            self.beat.entry.eq(set_cg),
            self.beat.mask.as_value().eq(mask),
            self.beat.seg_last.eq(last_set),
            self.beat.progress.eq(progress),
            self.free.eq(Mux(go & last_tap & last_set & last_segment, row + 1, 0)),
        ]

        next_origin = Signal(signed(PIXEL_BITS + 2))
        m.d.comb += next_origin.eq(Mux(two & row_end, line + (task.w_in << 1), origin + Mux(two, config.l, whole)))
        corner = Signal(signed(PIXEL_BITS + 2))  # distance from the centre tap to the first one
        m.d.comb += corner.eq(Mux(radius == 1, task.w_in + 1, (task.w_in << 1) + 2))
        with m.If(go):
            m.d.sync += [
                kx.eq(Mux(last_kx, 0, kx + 1)),
                tap_px.eq(Mux(last_kx, tap_px + task.w_in - (radius << 1), tap_px + 1)),
                tap_lane.eq(Mux(row_done, 0, tap_lane + 1)),
            ]
            with m.If(row_done):
                m.d.sync += row.eq(row + 1)
            with m.If(last_kx):
                m.d.sync += ky.eq(Mux(last_ky, 0, ky + 1))
            with m.If(last_tap):
                m.d.sync += [
                    tap_px.eq(origin - corner),
                    set_index.eq(Mux(last_set, 0, set_index + 1)),
                    set_cg.eq(Mux(last_set, 0, set_cg + wide)),
                ]
                with m.If(last_set):
                    m.d.sync += [row.eq(0), out_px.eq(out_px + pixels), origin.eq(next_origin), tap_px.eq(next_origin - corner)]
                    with m.If(two & row_end):
                        m.d.sync += line.eq(next_origin)
                    m.d.sync += left_in_row.eq(Mux(row_end, task.w_out, left_in_row - config.l // 2))
                    with m.If(last_segment):
                        m.d.sync += running.eq(0)
        with m.If(lanes.start):
            m.d.sync += prepared.eq(1)
        with m.If(begin):
            m.d.sync += [running.eq(1), late.eq(0)]
        with m.Elif(self.start):
            m.d.sync += late.eq(1)
        with m.If(self.start):
            m.d.sync += [
                prepared.eq(0),
                left_in_row.eq(task.w_out),
                out_px.eq(task.px_start),
                origin.eq(task.px_in),
                line.eq(task.px_in),
                set_index.eq(0),
                set_cg.eq(0),
                ky.eq(0),
                kx.eq(0),
                row.eq(0),
                tap_lane.eq(0),
                tap_px.eq(task.px_in - corner),
            ]
        return m
