"""The STORE task: the O buffer to memory."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.axi.signature import AxiWrite
from hw.axi.writer import LinearWriter
from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR
from hw.control.dispatch import TaskSignature
from hw.cost import Resources, buffered_fifo
from hw.delay import delayed
from hw.interfaces import GROUP_BITS, PIXEL_BITS
from hw.memory.output_buffer import BeatReadSignature, beat_pixels


class Store(wiring.Component):
    """Writes ``dst_cg_end`` channel groups of ``px_end`` pixels as int16 to memory.

    For each channel group from 0 on, for each ``l`` pixels from 0 on: one row of ``l x m`` values, ``[pixel][channel]``, lowest
    byte first, row after row without gaps. Pixels from ``px_end`` on are written as 0. The source is ``src_base``, ``src_rows``,
    ``src_skew``.

    A row is ``2 * l / n`` beats; reads, of a beat each, are issued as long as the FIFO has room for their answers, so the bus
    gets a beat a cycle.

    Parameters
    ----------
    config :
        Sizes.
    read_latency :
        Cycles from a read to its data.

    Members
    -------
    unit : In(TaskSignature)
        The task; ``busy`` falls when the bus has acknowledged everything.
    address : In
        Byte address of the results, a multiple of a beat; the task's are ``offset`` beats behind it.
    read : Out(BeatReadSignature)
        The O buffer.
    axi, cancel, error, writing :
        The bus, and ``cancel``, ``error`` and ``busy`` of the writer (:class:`hw.axi.writer.LinearWriter`).
    beat : Out(1)
        Strobe: a beat of results was handed to the writer.
    """

    def __init__(self, config: AcceleratorConfig, read_latency: int):
        self._config, self._latency = config, read_latency
        super().__init__({
            "unit": In(TaskSignature()),
            "address": In(config.axi_address_bits),
            "read": Out(BeatReadSignature(config)),
            "axi": Out(AxiWrite(config)),
            "cancel": In(1),
            "error": Out(1),
            "writing": Out(1),
            "beat": Out(1),
        })

    @staticmethod
    def _depth(read_latency: int) -> int:
        """Beats that cover the way there and back at one a cycle: the buffer, the FIFO and the credit."""
        return read_latency + 4

    @classmethod
    def resources(cls, config: AcceleratorConfig, read_latency: int) -> Resources:
        """The writer and the FIFO of beats, each with its mark of the last."""
        return LinearWriter.resources(config) + buffered_fifo(8 * config.beat_bytes + 1, cls._depth(read_latency))

    def elaborate(self, platform: object) -> Module:
        """Read requests with credits, and a FIFO of beats."""
        m = Module()
        config = self._config
        m.submodules.writer = writer = LinearWriter(config)
        wiring.connect(m, writer.axi, wiring.flipped(self.axi))
        task = Signal(DESCRIPTOR)
        reading = Signal()
        px, cg = Signal(PIXEL_BITS), Signal(GROUP_BITS)
        m.d.comb += [
            writer.address.eq(self.address + (task.offset << ceil_log2(config.beat_bytes))),
            writer.cancel.eq(self.cancel),
            self.error.eq(writer.error),
            self.writing.eq(writer.busy),
            self.beat.eq(writer.i.valid & writer.i.ready),
        ]
        with m.FSM() as fsm:
            with m.State("IDLE"), m.If(self.unit.start):
                m.d.sync += [task.eq(self.unit.task), px.eq(0), cg.eq(0)]
                m.next = "START"
            with m.State("START"):
                m.d.comb += writer.start.eq(1)
                m.d.sync += reading.eq(1)
                m.next = "WORK"
            with m.State("WORK"), m.If(~writer.busy):
                m.next = "IDLE"
            m.d.comb += self.unit.busy.eq(~fsm.ongoing("IDLE"))

        depth, pixels = self._depth(self._latency), beat_pixels(config)
        beat = data.StructLayout({"data": 8 * config.beat_bytes, "last": 1})
        m.submodules.beats = beats = SyncFIFOBuffered(width=beat.size, depth=depth)
        credits = Signal(range(depth + 1), init=depth)
        issue, row_end, last, popped = Signal(), Signal(), Signal(), Signal()
        # Rows are whole.
        row_ends = (px & (config.l - pixels)) == config.l - pixels
        m.d.comb += [
            issue.eq(reading & (credits != 0)),
            row_end.eq(row_ends & (px + pixels >= task.px_end)),
            last.eq(row_end & (cg + 1 == task.dst_cg_end)),
            self.read.px.eq(px),
            self.read.cg.eq(cg),
            self.read.base.eq(task.src_base),
            self.read.rows.eq(task.src_rows),
            self.read.skew.eq(task.src_skew),
            self.read.mask.eq(Cat(px + lane < task.px_end for lane in range(pixels))),
        ]
        m.d.sync += credits.eq(credits + popped - issue)
        with m.If(issue):
            m.d.sync += px.eq(Mux(row_end, 0, px + pixels))
            with m.If(row_end):
                m.d.sync += cg.eq(cg + 1)
            with m.If(last):
                m.d.sync += reading.eq(0)

        arrived, leaving = data.View(beat, beats.w_data), data.View(beat, beats.r_data)
        m.d.comb += [
            beats.w_en.eq(delayed(m, issue, self._latency, "issued", reset=True)),
            arrived.last.eq(delayed(m, last, self._latency, "last")),
            arrived.data.eq(self.read.data),
            writer.i.valid.eq(beats.r_rdy),
            writer.i.payload.data.eq(leaving.data),
            writer.i.payload.last.eq(leaving.last),
            beats.r_en.eq(writer.i.ready),
            popped.eq(beats.r_rdy & beats.r_en),
        ]
        return m
