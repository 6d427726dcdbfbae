"""The LOAD task: a picture from memory, unfolded for the stem convolution."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.axi.linear_reader import LinearReader
from hw.axi.signature import AxiRead
from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR
from hw.control.dispatch import TaskSignature
from hw.cost import Resources, ram
from hw.delay import delayed
from hw.interfaces import PIXEL_BITS, write_layout
from hw.io.gearbox import CHANNELS, PAIR_BYTES, PixelGearbox
from quant.contract import ACT_BITS

#: Rows and columns of the stem's kernel.
KERNEL = 3
#: Memories of the line buffer (for each half of a chunk), and rows that it holds: a kernel's, and one that is being filled.
LINES = 4


def unfolded_groups(config: AcceleratorConfig) -> int:
    """Channel groups of an unfolded pixel."""
    return -(-KERNEL * KERNEL * CHANNELS // config.m)


def unfold_split(config: AcceleratorConfig) -> int:
    """log2 of the output pixels that LOAD writes at once, which is also the bank skew of the unfolded picture.

    As many as have room in a write with all their channel groups, and as a beat has bytes for: an output pixel takes four of
    the picture. One where not even that fits.
    """
    slots = config.l >> ceil_log2(unfolded_groups(config))
    beats = config.beat_bytes // (2 * PAIR_BYTES)
    return max(0, min(slots, beats).bit_length() - 1)


class Loader(wiring.Component):
    """Reads ``h_in x w_in`` pixels, and writes for each output pixel of a 3x3 stride-2 convolution its 27 inputs.

    The picture is uint8, rows without padding, channels interleaved; a value ``u`` becomes ``u - 128``. Output pixel
    ``p = yo * w_out + xo`` gets the values ``(kx * 3 + ky) * 3 + c``, in words of ``m``: channel groups 0 .. ``groups - 1`` at
    ``dst_base`` with ``dst_rows`` rows each. A write is that of up to ``pixels`` neighbours in a row of the output
    (:meth:`pixels`, 2 to the bank skew), or of ``l`` channel groups of one. Outside the picture the values are ``task.pad``, in
    the last word the rest is 0. ``w_in`` is even, at least 4, and ``stride`` 2; ``h_in`` may be odd.

    Four pixels of the picture come in for each that is written, at once and while others are unfolded: a picture takes a cycle a
    write (:meth:`writes`) once its first row is there.

    Where ``dst_ring`` is not 0, a channel group has 2 to that many rows in the buffer, used in turn: pixel ``p`` is written only
    when pixel ``p - (l << dst_ring)`` has been read (``consumed``).

    Parameters
    ----------
    config :
        Sizes.
    write_latency :
        Cycles after a write from which a read of the destination sees it.

    Members
    -------
    unit : In(TaskSignature)
        The task; ``busy`` falls when the last write can be read.
    address : In
        Byte address of the pictures, a multiple of a beat; the task's is ``offset`` beats behind it.
    write : Out(stream of write_layout)
        Writes of the destination buffer, which may have other users.
    axi, cancel, error, reading :
        The bus, and ``cancel``, ``error`` and ``busy`` of the reader (:class:`hw.axi.linear_reader.LinearReader`).
    beat : Out(1)
        Strobe: a beat of the picture was taken.
    starved : Out(1)
        Level: pixels could be taken, and the memory gives none.
    progress : Out(PIXEL_BITS)
        Output pixels of the task that can be read, all before them included; stays until the next start.
    consumes : In(1), consumed : In(PIXEL_BITS)
        Strobe: all pixels before ``consumed`` have been read, counted from the picture's first. What was said before the task's
        start does not count.
    """

    def __init__(self, config: AcceleratorConfig, write_latency: int = 1):
        self._config, self._write_latency = config, write_latency
        #: Channel groups of an unfolded pixel.
        self.groups = unfolded_groups(config)
        #: log2 of the output pixels of a write.
        self.split = unfold_split(config)
        super().__init__({
            "unit": In(TaskSignature()),
            "address": In(config.axi_address_bits),
            "write": Out(stream.Signature(write_layout(config))),
            "axi": Out(AxiRead(config)),
            "cancel": In(1),
            "error": Out(1),
            "reading": Out(1),
            "beat": Out(1),
            "starved": Out(1),
            "progress": Out(PIXEL_BITS),
            "consumes": In(1),
            "consumed": In(PIXEL_BITS),
        })

    @staticmethod
    def pixels(config: AcceleratorConfig) -> int:
        """Output pixels of a write."""
        return 1 << unfold_split(config)

    @staticmethod
    def parts(config: AcceleratorConfig) -> int:
        """Writes of an output pixel; with several pixels a write it is one."""
        return -(-unfolded_groups(config) // (config.l >> unfold_split(config)))

    @staticmethod
    def writes(config: AcceleratorConfig, width: int) -> int:
        """Writes of an output row of ``width`` pixels."""
        return -(-width // Loader.pixels(config)) * Loader.parts(config)

    @staticmethod
    def _chunks(config: AcceleratorConfig) -> int:
        """Chunks of the longest row."""
        return -(-config.max_picture_width // (4 * Loader.pixels(config)))

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The reader, the line buffer, and two multipliers for the number of beats."""
        half = ram(8 * PAIR_BYTES * Loader.pixels(config), Loader._chunks(config))
        return LinearReader.resources(config) + half * (2 * LINES) + Resources(dsp=2)

    def elaborate(self, platform: object) -> Module:
        """Reader, gearbox, line buffer (filling side and unfolding side), and the writes."""
        m = Module()
        config = self._config
        m.submodules.reader = reader = LinearReader(config)
        m.submodules.gearbox = gearbox = PixelGearbox(config, 2 << self.split)
        wiring.connect(m, reader.axi, wiring.flipped(self.axi))
        wiring.connect(m, reader.o, gearbox.i)
        m.d.comb += [
            reader.cancel.eq(self.cancel),
            self.error.eq(reader.error),
            self.reading.eq(reader.busy),
            self.beat.eq(reader.o.valid & reader.o.ready),
            self.starved.eq(reader.busy & reader.o.ready & ~reader.o.valid),
        ]

        task = Signal(DESCRIPTOR)
        pixels = Signal(DESCRIPTOR["h_in"].width + DESCRIPTOR["w_in"].width)
        first_byte = Signal(config.axi_address_bits)
        m.d.comb += reader.address.eq(first_byte)
        m.d.comb += reader.beats.eq((pixels * CHANNELS + config.beat_bytes - 1) >> ceil_log2(config.beat_bytes))
        active, finished, idle = Signal(), Signal(), Signal()
        settled = Signal(range(max(2, self._write_latency)))
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                with m.If(self.unit.start):
                    m.d.sync += task.eq(self.unit.task)
                    m.next = "SIZE"
            with m.State("SIZE"):
                m.d.sync += pixels.eq(task.h_in * task.w_in)
                m.d.sync += first_byte.eq(self.address + (task.offset << ceil_log2(config.beat_bytes)))
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += reader.start.eq(1)
                m.next = "WORK"
            with m.State("WORK"):
                m.d.comb += active.eq(1)
                with m.If(finished):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += settled.eq(settled + 1)
                with m.If(settled == self._write_latency - 1):
                    m.d.sync += settled.eq(0)
                    m.next = "IDLE"
            m.d.comb += self.unit.busy.eq(~fsm.ongoing("IDLE"))
        m.d.comb += [gearbox.clear.eq(idle), gearbox.ended.eq(active & ~reader.busy)]

        # Where the filling and the unfolding side are: rows; chunks of a row of the picture, and halves of them, which hold as
        # many pairs as output pixels are written at once; and pairs, or pixels, from there to the row's end.
        at_once, chunks = 1 << self.split, self._chunks(config)
        whole = 2 * at_once
        row_pairs = Signal(range(config.max_picture_width // 2 + 1))
        m.d.comb += row_pairs.eq(task.w_in >> 1)
        y_in, x_in, in_left = Signal(DESCRIPTOR["h_in"].width), Signal(range(chunks)), Signal.like(row_pairs)
        y_out, x_out, out_left = Signal(DESCRIPTOR["h_in"].width), Signal(range(2 * chunks)), Signal.like(row_pairs)
        # Rows that are there of those from 2 * y_out on: 3 at most, for the row before them is still in use.
        ahead = Signal(range(LINES))
        same_chunk_free, same_chunk_there = Signal(), Signal()
        m.d.comb += [
            ahead.eq(y_in - (y_out << 1)),
            same_chunk_free.eq(x_in < x_out >> 1),
            same_chunk_there.eq(x_in > x_out >> 1),
        ]

        # Filling side: row y is in memories y mod 4. Row 2 * y_out + 3 follows row 2 * y_out - 1 as that is unfolded.
        fill, ends_row = Signal(), Signal()
        sign_flip = Const(int.from_bytes(bytes([1 << (ACT_BITS - 1)] * PAIR_BYTES * whole), "little"), 8 * PAIR_BYTES * whole)
        m.d.comb += [
            ends_row.eq(in_left <= whole),
            gearbox.count.eq(Mux(ends_row, in_left, whole)),
            gearbox.o.ready.eq(active & (y_in != task.h_in) & ((ahead != LINES - 1) | same_chunk_free)),
            fill.eq(gearbox.o.valid & gearbox.o.ready),
        ]
        with m.If(fill):
            m.d.sync += [x_in.eq(x_in + 1), in_left.eq(in_left - whole)]
            with m.If(ends_row):
                m.d.sync += [x_in.eq(0), in_left.eq(row_pairs), y_in.eq(y_in + 1)]

        # Unfolding side: issue half a chunk, receive it a cycle later, hold it while it is written. ``move`` steps all three.
        issue, move, there, room = Signal(), Signal(), Signal(), Signal()
        pixel, now = Signal(PIXEL_BITS), Signal(range(at_once + 1))
        last_column, end = Signal(), Signal()
        m.d.comb += [
            # Row 2 * y_out + 1, or the picture's last, is there as far as it is needed.
            there.eq((ahead >= 2) | (y_in == task.h_in) | ((ahead == 1) & same_chunk_there)),
            issue.eq(active & there & room & ~end),
            last_column.eq(out_left <= at_once),
            now.eq(Mux(last_column, out_left, at_once)),
        ]
        with m.If(issue & move):
            m.d.sync += [x_out.eq(x_out + 1), out_left.eq(out_left - at_once), pixel.eq(pixel + now)]
            with m.If(last_column):
                m.d.sync += [x_out.eq(0), out_left.eq(row_pairs), y_out.eq(y_out + 1)]
                with m.If((y_out << 1) + 2 >= task.h_in):
                    m.d.sync += end.eq(1)

        # In a ring no pixel overwrites one that is still to be read.
        bound_bits = exact_log2(config.l) + (1 << DESCRIPTOR["dst_ring"].width)
        consumed, bound = Signal(PIXEL_BITS), Signal(bound_bits)
        m.d.sync += bound.eq(consumed + (Const(config.l) << task.dst_ring) - at_once)
        m.d.comb += room.eq((task.dst_ring == 0) | (pixel <= bound))
        with m.If(self.unit.start):
            m.d.sync += consumed.eq(0)
        with m.Elif(self.consumes):
            m.d.sync += consumed.eq(self.consumed)

        # Memory of the kernel's top row, 2 * y_out - 1.
        line_bits = exact_log2(LINES)
        phase = Signal(line_bits)
        m.d.comb += phase.eq((y_out << 1) - 1)
        half_bits = 8 * PAIR_BYTES * at_once
        come, lines = gearbox.o.payload.as_value() ^ sign_flip, []
        for line in range(LINES):
            halves = []
            for upper in range(2):
                memory = Memory(shape=unsigned(half_bits), depth=chunks, init=[])
                m.submodules[f"line_{line}_{upper}"] = memory
                write, read = memory.write_port(), memory.read_port()
                m.d.comb += [
                    write.addr.eq(x_in),
                    write.data.eq(come.word_select(upper, half_bits)),
                    write.en.eq(fill & (y_in[:line_bits] == line)),
                    read.addr.eq(x_out >> 1),
                    read.en.eq(move),
                ]
                halves.append(read.data)
            lines.append(halves)

        read_valid, read_first, read_upper, read_phase = Signal(), Signal(), Signal(), Signal(line_bits)
        read_pixel, read_now = Signal.like(pixel), Signal.like(now)
        inside = Signal(KERNEL)
        with m.If(move):
            m.d.sync += [
                read_valid.eq(issue),
                read_first.eq(x_out == 0),
                read_upper.eq(x_out[0]),
                read_phase.eq(phase),
                read_pixel.eq(pixel),
                read_now.eq(now),
                inside.eq(Cat(y_out != 0, 1, (y_out << 1) + 1 < task.h_in)),
            ]

        # A kernel row's pixels, and the one to their left: the last of the half before.
        pad = Cat(task.pad)
        columns, rows = [Mux(read_upper, upper, lower) for lower, upper in lines], []
        for ky in range(KERNEL):
            half, left = Signal(half_bits, name=f"half_{ky}"), Signal(8 * CHANNELS, name=f"left_{ky}")
            chosen = Signal(line_bits, name=f"line_of_{ky}")
            m.d.comb += chosen.eq(read_phase + ky)
            found = Array(columns)[chosen]
            # The middle row is never outside.
            m.d.comb += half.eq(found if ky == 1 else Mux(inside[ky], found, pad.replicate(whole)))
            with m.If(move & read_valid):
                m.d.sync += left.eq(half[-8 * CHANNELS:])
            rows.append(Cat(Mux(read_first, pad, left), half))

        # Held: what is written next, as ``[pixel][value]``, an output pixel alone in parts of l channel groups.
        parts = self.parts(config)
        held_valid, held_pixel, held_now = Signal(), Signal.like(pixel), Signal.like(now)
        held = [Signal(8 * config.m * self.groups, name=f"held_{n}") for n in range(at_once)]
        part = Signal(range(max(2, parts)))
        taken, last_part = Signal(), Signal()
        m.d.comb += [
            last_part.eq(part == parts - 1),
            taken.eq(self.write.valid & self.write.ready),
            move.eq(~held_valid | (taken & last_part)),
            self.write.valid.eq(held_valid),
        ]
        with m.If(move):
            m.d.sync += [held_valid.eq(read_valid), held_pixel.eq(read_pixel), held_now.eq(read_now)]
            for n, values in enumerate(held):
                columns = range(2 * n, 2 * n + KERNEL)
                m.d.sync += values.eq(Cat(row.word_select(column, 8 * CHANNELS) for column in columns for row in rows))
        with m.If(taken):
            m.d.sync += part.eq(Mux(last_part, 0, part + 1))
        m.d.comb += finished.eq(end & ~read_valid & ~held_valid)

        out, groups_at_once = self.write.payload, config.l >> self.split
        masks, words = Signal(config.l * parts), Signal(8 * config.m * config.l * parts)
        for slot in range(config.l * parts):
            # ``parts`` is 1 where ``at_once`` is not.
            n, group = slot % at_once, slot // at_once
            if group < self.groups:
                m.d.comb += [
                    masks[slot].eq(n < held_now),
                    words.word_select(slot, 8 * config.m).eq(held[n].word_select(group, 8 * config.m)),
                ]
        m.d.comb += [
            out.mask.eq(masks.word_select(part, config.l)),
            out.px.eq(held_pixel),
            out.cg.eq(part * groups_at_once),
            out.split.eq(self.split),
            out.base.eq(task.dst_base),
            out.rows.eq(task.dst_rows),
            out.ring.eq(task.dst_ring),
            out.words.eq(words.word_select(part, 8 * config.m * config.l)),
        ]
        complete = delayed(m, Mux(taken & last_part, held_now, 0), self._write_latency, "complete", reset=True)
        with m.If(self.unit.start):
            m.d.sync += self.progress.eq(0)
        with m.Else():
            m.d.sync += self.progress.eq(self.progress + complete)
        with m.If(idle):
            m.d.sync += [signal.eq(0) for signal in (y_in, x_in, y_out, x_out, end, part, pixel, read_valid, held_valid)]
        with m.If(~active):
            m.d.sync += [in_left.eq(row_pairs), out_left.eq(row_pairs)]
        return m
