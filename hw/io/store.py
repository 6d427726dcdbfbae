"""The STORE task: the O buffer to memory."""

from amaranth import Cat, Module, Mux, Signal, signed
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
from hw.interfaces import GROUP_BITS, LOGIT_BITS, PIXEL_BITS, ReadSignature, words


class Store(wiring.Component):
    """Writes ``dst_cg_end`` channel groups of ``px_end`` pixels as int16 to memory.

    For each channel group from 0 on, for each ``l`` pixels from 0 on: one row of ``l x m`` values, ``[pixel][channel]``, lowest
    byte first, row after row without gaps. Pixels from ``px_end`` on are written as 0. The source is ``src_base``, ``src_rows``,
    ``src_skew``.

    A row is ``2 * l / n`` beats; reads are issued as long as the FIFO has room for their answers, so the bus gets a beat a
    cycle.

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
    read : Out(ReadSignature of int16)
        The O buffer.
    axi, cancel, error, writing :
        The bus, and ``cancel``, ``error`` and ``busy`` of the writer (:class:`hw.axi.writer.LinearWriter`).
    beat : Out(1)
        Strobe: a beat of results was handed to the writer.
    """

    def __init__(self, config: AcceleratorConfig, read_latency: int):
        self._config, self._latency = config, read_latency
        self.row_beats = self._row_beats(config)
        super().__init__({
            "unit": In(TaskSignature()),
            "address": In(config.axi_address_bits),
            "read": Out(ReadSignature(config, signed(LOGIT_BITS))),
            "axi": Out(AxiWrite(config)),
            "cancel": In(1),
            "error": Out(1),
            "writing": Out(1),
            "beat": Out(1),
        })

    @staticmethod
    def _row_beats(config: AcceleratorConfig) -> int:
        """Beats of a row."""
        return config.l * config.m * LOGIT_BITS // (8 * config.beat_bytes)

    @classmethod
    def _depth(cls, config: AcceleratorConfig, read_latency: int) -> int:
        """Rows that cover the way there and back at a row every ``row_beats`` cycles: the buffer, the FIFO and the credit."""
        return 1 + -(-(read_latency + 4) // cls._row_beats(config))

    @classmethod
    def resources(cls, config: AcceleratorConfig, read_latency: int) -> Resources:
        """The writer and the FIFO of rows, each with its mark of the last."""
        row = config.l * config.m * LOGIT_BITS + 1
        return LinearWriter.resources(config) + buffered_fifo(row, cls._depth(config, read_latency))

    def elaborate(self, platform: object) -> Module:
        """Read requests with credits, a FIFO of rows, and rows cut into beats."""
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

        depth = self._depth(config, self._latency)
        row = data.StructLayout({"words": words(config, signed(LOGIT_BITS)), "last": 1})
        m.submodules.rows = rows = SyncFIFOBuffered(width=row.size, depth=depth)
        credits = Signal(range(depth + 1), init=depth)
        issue, row_end, last, popped = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            issue.eq(reading & (credits != 0)),
            row_end.eq(px + config.l >= task.px_end),
            last.eq(row_end & (cg + 1 == task.dst_cg_end)),
            self.read.valid.eq(issue),
            self.read.px.eq(px),
            self.read.cg.eq(cg),
            self.read.base.eq(task.src_base),
            self.read.rows.eq(task.src_rows),
            self.read.skew.eq(task.src_skew),
        ]
        m.d.sync += credits.eq(credits + popped - issue)
        with m.If(issue):
            m.d.sync += px.eq(Mux(row_end, 0, px + config.l))
            with m.If(row_end):
                m.d.sync += cg.eq(cg + 1)
            with m.If(last):
                m.d.sync += reading.eq(0)

        inside = Signal(config.l)
        m.d.comb += inside.eq(Cat(px + lane < task.px_end for lane in range(config.l)))
        arrived_inside = delayed(m, inside, self._latency, "inside")
        arrived = data.View(row, rows.w_data)
        m.d.comb += [
            rows.w_en.eq(delayed(m, issue, self._latency, "issued", reset=True)),
            arrived.last.eq(delayed(m, last, self._latency, "last")),
        ]
        for lane in range(config.l):
            for channel in range(config.m):
                m.d.comb += arrived.words[lane][channel].eq(Mux(arrived_inside[lane], self.read.data[lane][channel], 0))

        leaving = data.View(row, rows.r_data)
        part = Signal(range(self.row_beats))
        row_done = Signal()
        m.d.comb += [
            row_done.eq(part == self.row_beats - 1),
            writer.i.valid.eq(rows.r_rdy),
            writer.i.payload.data.eq(leaving.words.as_value().word_select(part, 8 * config.beat_bytes)),
            writer.i.payload.last.eq(leaving.last & row_done),
            rows.r_en.eq(writer.i.ready & row_done),
            popped.eq(rows.r_rdy & rows.r_en),
        ]
        with m.If(self.beat):
            m.d.sync += part.eq(Mux(row_done, 0, part + 1))
        return m
