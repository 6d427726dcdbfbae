"""The LOAD task: a picture from memory, unfolded for the stem convolution."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

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
#: Memories of the line buffer (for each parity of the pair): the kernel's rows lie in different ones.
LINES = 4
#: Rows that the line buffer holds, two a memory: three in use, the others being filled.
HELD_ROWS = 2 * LINES


class Loader(wiring.Component):
    """Reads ``h_in x w_in`` pixels, and writes for each output pixel of a 3x3 stride-2 convolution its 27 inputs.

    The picture is uint8, rows without padding, channels interleaved; a value ``u`` becomes ``u - 128``. Output pixel
    ``p = yo * w_out + xo`` gets the values ``(kx * 3 + ky) * 3 + c``, in words of ``m``: channel groups 0 .. ``groups - 1`` at
    ``dst_base`` with ``dst_rows`` rows each, bank skew 0 (one pixel slot), ``l`` channel groups a write. Outside the picture
    the values are ``task.pad``, in the last word the rest is 0. ``w_in`` is even, at least 4, and ``stride`` 2; ``h_in`` may be
    odd.

    Four pixels a cycle come in; an output pixel takes ``ceil(groups / l)`` cycles. Rows are unfolded while the next ones come
    in, so a picture takes about ``h_in * w_in / 4 * ceil(groups / l)`` cycles.

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
    """

    def __init__(self, config: AcceleratorConfig, write_latency: int = 1):
        self._config, self._write_latency = config, write_latency
        #: Channel groups of an unfolded pixel.
        self.groups = -(-KERNEL * KERNEL * CHANNELS // config.m)
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
        })

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The reader, the line buffer, and two multipliers for the number of beats."""
        pairs = 1 << ceil_log2(config.max_picture_width // 2)
        return LinearReader.resources(config) + ram(8 * PAIR_BYTES, pairs) * (2 * LINES) + Resources(dsp=2)

    def elaborate(self, platform: object) -> Module:
        """Reader, gearbox, line buffer (filling side and unfolding side), and the writes."""
        m = Module()
        config = self._config
        m.submodules.reader = reader = LinearReader(config)
        m.submodules.gearbox = gearbox = PixelGearbox(config)
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
        m.d.comb += gearbox.clear.eq(idle)

        # Filling side: row y is in memories y mod 4, a word is a pair of pixels, even and odd pairs lie apart. Up to two
        # neighbouring pairs come at once, the second of them perhaps in the next row: they never meet in a memory.
        pairs = config.max_picture_width // 2
        row_pairs = Signal(range(pairs + 1))
        m.d.comb += row_pairs.eq(task.w_in >> 1)
        y_in, x_in = Signal(range((1 << DESCRIPTOR["h_in"].width) + HELD_ROWS)), Signal(range(pairs))
        y_out, x_out = Signal(DESCRIPTOR["h_in"].width), Signal(range(pairs))
        come, fill = gearbox.o.payload, Signal()
        y_last, x_second, y_second, beyond = Signal.like(y_in), Signal.like(x_in), Signal.like(y_in), Signal.like(x_in)
        ends_row, next_ends_row = Signal(), Signal()
        sign_flip = Const(int.from_bytes(bytes([1 << (ACT_BITS - 1)] * PAIR_BYTES), "little"), 8 * PAIR_BYTES)
        m.d.comb += [
            ends_row.eq(x_in == row_pairs - 1),
            x_second.eq(Mux(ends_row, 0, x_in + 1)),
            y_second.eq(y_in + ends_row),
            next_ends_row.eq(x_second == row_pairs - 1),
            beyond.eq(Mux(next_ends_row, 0, x_second + 1)),
            y_last.eq(Mux(come.all, y_second, y_in)),
            # Row 2 * y_out - 1 is the oldest in use; it must not be overwritten.
            gearbox.o.ready.eq(active & (y_in < task.h_in) & (y_last <= 2 * y_out + HELD_ROWS - 2)),
            fill.eq(gearbox.o.valid & gearbox.o.ready),
        ]
        with m.If(fill):
            with m.If(come.all):
                m.d.sync += [x_in.eq(beyond), y_in.eq(y_second + next_ends_row)]
            with m.Else():
                m.d.sync += [x_in.eq(x_second), y_in.eq(y_second)]

        # Unfolding side: issue a column, receive it a cycle later, hold it while it is written. ``move`` steps all three.
        issue, move, in_row = Signal(), Signal(), Signal()
        top_row = Signal(range(2 << DESCRIPTOR["h_in"].width))
        last_column, end = Signal(), Signal()
        m.d.comb += [
            top_row.eq(2 * y_out),
            # The rows of the kernel are there: up to 2 * y_out + 1, or the picture's last.
            in_row.eq((y_in > top_row + 1) | (y_in == task.h_in)),
            issue.eq(active & in_row & ~end),
            last_column.eq(x_out == row_pairs - 1),
        ]
        with m.If(issue & move):
            m.d.sync += x_out.eq(Mux(last_column, 0, x_out + 1))
            with m.If(last_column):
                m.d.sync += y_out.eq(y_out + 1)
                with m.If(top_row + 2 >= task.h_in):
                    m.d.sync += end.eq(1)

        line_bits = ceil_log2(LINES)
        # Memory of the kernel's top row, 2 * y_out - 1.
        phase = Signal(line_bits)
        m.d.comb += phase.eq(top_row - 1)

        def place(x: Signal, y: Value) -> Value:
            """Address of a pair of row ``y`` in its memory."""
            return Cat(x[1:], y[line_bits])

        columns = []
        for line in range(LINES):
            row = Signal(range(HELD_ROWS), name=f"row_of_{line}")
            distance = Signal(line_bits, name=f"distance_of_{line}")
            m.d.comb += [distance.eq(line - phase), row.eq(top_row - 1 + distance)]
            for parity in range(2):
                memory = Memory(shape=unsigned(8 * PAIR_BYTES), depth=1 << len(x_in), init=[])
                m.submodules[f"line_{line}_{parity}"] = memory
                write, read = memory.write_port(), memory.read_port()
                takes_first, takes_second = Signal(name=f"first_{line}_{parity}"), Signal(name=f"second_{line}_{parity}")
                m.d.comb += [
                    takes_first.eq((y_in[:line_bits] == line) & (x_in[0] == parity)),
                    takes_second.eq(come.all & (y_second[:line_bits] == line) & (x_second[0] == parity)),
                    write.addr.eq(Mux(takes_first, place(x_in, y_in), place(x_second, y_second))),
                    write.data.eq(Mux(takes_first, come.pairs[0], come.pairs[1]) ^ sign_flip),
                    write.en.eq(fill & (takes_first | takes_second)),
                    read.addr.eq(place(x_out, row)),
                    read.en.eq(move),
                ]
                columns.append(read.data)

        read_valid, read_first, read_parity, read_phase = Signal(), Signal(), Signal(), Signal(line_bits)
        inside = Signal(KERNEL)
        with m.If(move):
            m.d.sync += [
                read_valid.eq(issue),
                read_first.eq(x_out == 0),
                read_parity.eq(x_out[0]),
                read_phase.eq(phase),
                inside.eq(Cat(y_out != 0, 1, top_row + 1 < task.h_in)),
            ]

        # A kernel row's pair, and the pixel to its left: the second of the pair before.
        pad = Cat(task.pad)
        unfolded = []
        for ky in range(KERNEL):
            pair, left = Signal(8 * PAIR_BYTES, name=f"pair_{ky}"), Signal(8 * CHANNELS, name=f"left_{ky}")
            chosen = Signal(line_bits, name=f"line_of_{ky}")
            m.d.comb += chosen.eq(read_phase + ky)
            m.d.comb += pair.eq(Mux(inside[ky], Array(columns)[Cat(read_parity, chosen)], pad.replicate(2)))
            with m.If(move & read_valid):
                m.d.sync += left.eq(pair[8 * CHANNELS:])
            unfolded.append(Cat(Mux(read_first, pad, left), pair))

        # Held: one output pixel, written in parts of l channel groups.
        parts = -(-self.groups // config.l)
        held_valid = Signal()
        held = Signal(8 * config.m * config.l * parts)
        part = Signal(range(max(2, parts)))
        pixel = Signal(PIXEL_BITS)
        taken, last_part = Signal(), Signal()
        m.d.comb += [
            last_part.eq(part == parts - 1),
            taken.eq(self.write.valid & self.write.ready),
            move.eq(~held_valid | (taken & last_part)),
            self.write.valid.eq(held_valid),
        ]
        with m.If(move):
            m.d.sync += held_valid.eq(read_valid)
            m.d.sync += held.eq(Cat(row[8 * CHANNELS * kx:8 * CHANNELS * (kx + 1)] for kx in range(KERNEL) for row in unfolded))
        with m.If(taken):
            m.d.sync += part.eq(Mux(last_part, 0, part + 1))
            with m.If(last_part):
                m.d.sync += pixel.eq(pixel + 1)
        m.d.comb += finished.eq(end & ~read_valid & ~held_valid)

        out = self.write.payload
        masks = [sum(1 << slot for slot in range(config.l) if index * config.l + slot < self.groups) for index in range(parts)]
        m.d.comb += [
            out.mask.eq(Array(Const(mask, config.l) for mask in masks)[part]),
            out.px.eq(pixel),
            out.cg.eq(part * config.l),
            out.split.eq(0),
            out.base.eq(task.dst_base),
            out.rows.eq(task.dst_rows),
            out.words.eq(held.word_select(part, 8 * config.m * config.l)),
        ]
        complete = delayed(m, taken & last_part, self._write_latency, "complete", reset=True)
        with m.If(self.unit.start):
            m.d.sync += self.progress.eq(0)
        with m.Elif(complete):
            m.d.sync += self.progress.eq(self.progress + 1)
        with m.If(idle):
            m.d.sync += [signal.eq(0) for signal in (y_in, x_in, y_out, x_out, end, part, pixel, read_valid, held_valid)]
        return m
