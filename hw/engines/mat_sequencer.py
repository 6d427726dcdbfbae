"""MAT's loop nest: which word meets which weights in which cycle."""

from amaranth import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Opcode
from hw.interfaces import GROUP_BITS, PIXEL_BITS, entry_bits, param_row


def offset_bits(config: AcceleratorConfig) -> int:
    """Bits of a beat's row: in the weight ring, or in the Z buffer."""
    return ceil_log2(max(config.weight_rows, config.z_rows))


def beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One beat: a read, the weights that meet it, and where the sum goes if it is the last of its sum."""
    return data.StructLayout(
        {
            "px": PIXEL_BITS,  # first pixel read
            "src_cg": GROUP_BITS,  # channel group read
            "offset": offset_bits(config),  # weight row, from the ring's base; row of Z, from the task's first
            "k": DESCRIPTOR["depth"].width,  # position in the sum
            "first": 1,
            "last": 1,
            "second": 1,  # LN: slot 0 is a word of the second pass
            "sums": 1,  # LN: a word of the first pass, too: slot 2 beside the second pass, slot 0 without it
            "cg": GROUP_BITS,  # first channel group of the result
            "entry": entry_bits(config),
            "mask": config.l,
        }
    )


class MatSequencer(wiring.Component):
    """Walks PW, QZ, DIV and LN tasks; one beat a cycle unless something it needs is missing.

    LN walks its ``n`` vectors, which are pixels, in ``n + 2`` phases of ``depth`` beats: phase ``j`` is the first pass of vector
    ``j`` and the second pass of vector ``j - 2``, as far as there are such. Both come with one read: what is read from pixel
    ``j - 2`` on has vector ``j`` in slot 2. Meanwhile the deviation of vector ``j - 1`` is computed, and a phase's last beat
    waits until it is known. A phase without either pass, which a vector alone has, is a single beat. So the task takes about
    ``(n + 2) * depth`` cycles, or ``(n + 2)`` times the deviation's where that takes longer.

    Members
    -------
    start : In(1)
        Take ``task``; only while not ``busy``.
    task : In(DESCRIPTOR)
        Stable from ``start`` to the end of ``busy``.
    busy : Out(1)
        Beats remain.
    weights, params : In
        Complete rows of the weight ring and entries of the parameter ring that no issued beat has released.
    ready : In(1)
        A result may be issued (queue space, in both engines if joint).
    progress : In(PIXEL_BITS)
        Pixels that the R-MAC task, or LOAD, has completed, for gated tasks.
    begun : In(PIXEL_BITS), begun_groups : In(GROUP_BITS + 1)
        Pixels that exist already in all channel groups before ``begun_groups``.
    ln_done : In(1)
        Strobe: the deviation of LayerNorm's last vector is known.
    issue : Out(1)
        A beat that ends a sum is issued (its beat follows in the next cycle).
    beat_valid, beat : Out
        The beat, registered.
    free : Out
        Weight rows that the beat is the last to use.
    consumes : Out(1), consumed : Out(PIXEL_BITS)
        Strobe, in a task behind LOAD: the beat is the last to read pixels before ``consumed``.
    stall_weights, stall_results, stall_progress : Out(1)
        Why no beat was issued.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "task": In(DESCRIPTOR),
                "busy": Out(1),
                "weights": In(range(config.weight_rows + 1)),
                "params": In(range(config.mat_param_rows + 1)),
                "ready": In(1),
                "progress": In(PIXEL_BITS),
                "begun": In(PIXEL_BITS),
                "begun_groups": In(GROUP_BITS + 1),
                "ln_done": In(1),
                "issue": Out(1),
                "beat_valid": Out(1),
                "beat": Out(beat_layout(config)),
                "free": Out(range(config.weight_rows + 1)),
                "consumes": Out(1),
                "consumed": Out(PIXEL_BITS),
                "stall_weights": Out(1),
                "stall_results": Out(1),
                "stall_progress": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Loop counters, what a beat waits for, and the beat."""
        m = Module()
        config, task = self.config, self.task
        lanes, bits = config.l, exact_log2(config.l)

        px, tile, k = Signal(PIXEL_BITS), Signal(DESCRIPTOR["tiles"].width), Signal(DESCRIPTOR["depth"].width)
        tile_row = Signal(offset_bits(config))
        src_tile, out_cg = Signal(GROUP_BITS), Signal(GROUP_BITS)
        # LN's phases: whether it is none of the first two, and none of the first; whether it has a first pass.
        second, primed, sums = Signal(), Signal(), Signal(init=1)
        deviating = Signal()
        is_ln, is_pw = task.opcode == Opcode.LN, task.opcode == Opcode.PW

        lp, step_cg = Signal(bits + 1), Signal(bits + 2)
        m.d.comb += [lp.eq(Const(1) << task.lp), step_cg.eq((Const(lanes) >> task.lp) << task.joint >> task.wide)]
        last_k = (k == task.depth - 1) | ~(sums | second)
        left = Signal(signed(PIXEL_BITS + 1))
        m.d.comb += left.eq(task.px_end - px)
        last_px = left <= lp
        last_tile = tile == task.tiles - 1
        # Beats that have a result: the last one of a sum, each one of LN's second pass.
        has_result = Signal()
        m.d.comb += has_result.eq(Mux(is_ln, second, last_k))

        # What the beat needs: its weights, room for its result, pixels that exist already.
        offset = Signal(offset_bits(config))
        m.d.comb += offset.eq(Mux(is_ln, k >> bits, tile_row + k))
        uses_weights = is_pw | second
        # LN's results are words of a channel group each, in slot 0.
        entry = Mux(is_ln, k, tile)
        need, read_cg = Signal(PIXEL_BITS), Signal(GROUP_BITS)
        m.d.comb += need.eq(Mux(last_px, task.px_end, px + lp))
        has_weights, has_room, has_pixels, go = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            has_weights.eq(~uses_weights | (self.weights > offset)),
            has_room.eq(~has_result | (self.ready & (self.params > param_row(task.opcode, entry)))),
            read_cg.eq(src_tile + k),
            has_pixels.eq(~task.gated | (self.progress >= need) | ((self.begun >= need) & (self.begun_groups > read_cg))),
            go.eq(self.busy & has_weights & has_room & has_pixels & ~(last_k & deviating)),
            self.issue.eq(go & has_result),
            self.stall_weights.eq(self.busy & ~has_weights),
            self.stall_results.eq(self.busy & has_weights & ~has_room),
            self.stall_progress.eq(self.busy & has_weights & has_room & ~has_pixels),
        ]

        mask = Signal(lanes)
        for i in range(lanes):
            slot_px = Signal(bits + 1, name=f"slot_px_{i}")
            m.d.comb += [slot_px.eq(i & (lp - 1)), mask[i].eq((slot_px < left) & ~(is_ln if i else 0))]
        m.d.sync += [
            self.beat_valid.eq(go),
            self.beat.px.eq(px),
            self.beat.src_cg.eq(read_cg),
            self.beat.offset.eq(offset),
            self.beat.k.eq(k),
            self.beat.first.eq(k == 0),
            self.beat.last.eq(last_k),
            self.beat.second.eq(second),
            self.beat.sums.eq(sums),
            self.beat.cg.eq(Mux(is_ln, task.dst_cg + k, out_cg)),
            self.beat.entry.eq(entry),
            self.beat.mask.eq(mask),
            self.consumes.eq(go & task.behind_load & last_k & last_tile),
            self.consumed.eq(need),
        ]
        # Rows are used once when tiles are the outer loop, and again for each pixel group when pixels are.
        end_of_tile, end = Signal(), Signal()
        m.d.comb += [
            end_of_tile.eq(last_k & (task.pixel_outer | last_px)),
            end.eq(last_k & last_px & last_tile & (~is_ln | second)),
        ]
        m.d.sync += self.free.eq(0)
        with m.If(self.ln_done):
            m.d.sync += deviating.eq(0)
        with m.If(go):
            with m.If(is_pw & ~task.pixel_outer & last_k & last_px):
                m.d.sync += self.free.eq(task.depth)
            with m.If(((is_pw & task.pixel_outer) | is_ln) & end):
                m.d.sync += self.free.eq(offset + 1)
            m.d.sync += k.eq(Mux(last_k, 0, k + 1))
            with m.If(is_ln & last_k):
                # After the first two phases pixels are read from the first one on again.
                m.d.sync += [
                    px.eq(Mux(primed & ~second, task.px_start, px + 1)),
                    primed.eq(1),
                    second.eq(primed),
                    sums.eq(Mux(second, left > 3, ~last_px)),
                    deviating.eq(sums),
                ]
            with m.Elif(last_k):
                with m.If(task.pixel_outer), m.If(last_tile):
                    m.d.sync += px.eq(px + lp)
                with m.Else():
                    m.d.sync += px.eq(Mux(last_px, task.px_start, px + lp))
                with m.If(end_of_tile):
                    m.d.sync += [
                        tile.eq(Mux(last_tile, 0, tile + 1)),
                        tile_row.eq(Mux(last_tile | (is_pw & ~task.pixel_outer), 0, tile_row + task.depth)),
                        src_tile.eq(Mux(last_tile, task.src_cg, src_tile + task.src_step)),
                        out_cg.eq(Mux(last_tile, task.dst_cg, out_cg + step_cg)),
                    ]
            with m.If(end):
                m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += [
                self.busy.eq(1),
                px.eq(task.px_start),
                tile.eq(0),
                k.eq(0),
                tile_row.eq(0),
                second.eq(0),
                primed.eq(0),
                sums.eq(1),
                src_tile.eq(task.src_cg),
                out_cg.eq(task.dst_cg),
            ]
        return m
