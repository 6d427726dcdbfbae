"""Writes a stream of beats to a contiguous piece of memory."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.axi.signature import BOUNDARY, AxiWrite, Burst, Response
from hw.config import AcceleratorConfig
from hw.cost import Resources, buffered_fifo
from triovit.errors import InternalError


def write_beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A beat on its way to memory; ``last`` ends the transfer."""
    return data.StructLayout({"data": unsigned(8 * config.beat_bytes), "last": 1})


class LinearWriter(wiring.Component):
    """A stream of whole beats to ``address`` and on, in bursts that never cross a 4 KB boundary.

    A burst's address is issued only when all its beats are in the FIFO, so a slow producer never holds the bus, and a cancelled
    one leaves no burst unfinished. One burst is sent at a time: two cycles, then a beat a cycle; responses are collected in
    the background.

    Parameters
    ----------
    config :
        Sizes of the bus.
    fifo_depth :
        Beats that the FIFO holds; at least one burst.
    outstanding :
        Bursts whose response may be missing.

    Members
    -------
    start : In(1)
        Strobe; ignored while ``busy`` or ``cancel``.
    address : In
        Byte address; its lowest bits, below a beat, are ignored.
    i : In(stream of write_beat_layout)
        At least one beat, the last one marked; taken only while ``busy``.
    busy : Out(1)
        From the cycle after ``start`` until the response to the last burst.
    error : Out(1)
        A burst was answered with another response than OKAY; stays until the next start.
    cancel : In(1)
        A level: issue nothing more, swallow the FIFO. ``busy`` falls when every issued burst has been answered.
    axi : Out(AxiWrite)
        The bus.
    """

    def __init__(self, config: AcceleratorConfig, fifo_depth: int | None = None, outstanding: int = 8):
        self._config, self._outstanding = config, outstanding
        self._depth = 2 * config.axi_burst if fifo_depth is None else fifo_depth
        if self._depth < config.axi_burst:
            raise InternalError(f"a writer's FIFO has {self._depth} beats, and must hold a burst of {config.axi_burst}")
        super().__init__({
            "start": In(1),
            "address": In(config.axi_address_bits),
            "i": In(stream.Signature(write_beat_layout(config))),
            "busy": Out(1),
            "error": Out(1),
            "cancel": In(1),
            "axi": Out(AxiWrite(config)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig, fifo_depth: int | None = None) -> Resources:
        """The FIFO."""
        return buffered_fifo(8 * config.beat_bytes, 2 * config.axi_burst if fifo_depth is None else fifo_depth)

    def elaborate(self, platform: object) -> Module:
        """A FIFO, a burst planner, and a count of missing responses."""
        m = Module()
        shift = ceil_log2(self._config.beat_bytes)
        page_beats = BOUNDARY // self._config.beat_bytes
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8 * self._config.beat_bytes, depth=self._depth)
        level = Signal(range(self._depth + 1))
        address = Signal(self._config.axi_address_bits - shift)
        active, complete = Signal(), Signal()
        missing = Signal(range(self._outstanding + 1))
        length = Signal(range(self._config.axi_burst + 1))
        sent = Signal.like(length)
        taken, put, issued, answered = Signal(), Signal(), Signal(), Signal()

        m.d.comb += [
            fifo.w_data.eq(self.i.payload.data),
            self.i.ready.eq(active & ~complete & fifo.w_rdy & ~self.cancel),
            taken.eq(self.i.valid & self.i.ready),
            fifo.w_en.eq(taken),
            issued.eq(self.axi.awvalid & self.axi.awready),
            self.axi.bready.eq(1),
            answered.eq(self.axi.bvalid),
        ]
        m.d.sync += [level.eq(level + taken - put), missing.eq(missing + issued - answered)]
        with m.If(taken & self.i.payload.last):
            m.d.sync += complete.eq(1)

        to_boundary = Signal(range(page_beats + 1))
        room = Signal.like(length)
        m.d.comb += [
            to_boundary.eq(page_beats - address[:ceil_log2(page_beats)]),
            room.eq(Mux(to_boundary < self._config.axi_burst, to_boundary, self._config.axi_burst)),
            self.axi.awaddr.eq(address << shift),
            self.axi.awlen.eq(length - 1),
            self.axi.awsize.eq(shift),
            self.axi.awburst.eq(Burst.INCR),
            self.axi.wdata.eq(fifo.r_data),
            self.axi.wstrb.eq(~0),
        ]
        with m.FSM():
            with m.State("PLAN"):
                with m.If(self.cancel):
                    # Nothing is issued that waits for the FIFO's content.
                    m.d.comb += [fifo.r_en.eq(1), put.eq(fifo.r_rdy)]
                    with m.If((level == 0) & (missing == 0)):
                        m.d.sync += [active.eq(0), complete.eq(0)]
                with m.Elif(active & (missing != self._outstanding)):
                    with m.If(level >= room):
                        m.d.sync += length.eq(room)
                        m.next = "ADDRESS"
                    with m.Elif(complete & (level != 0)):
                        m.d.sync += length.eq(level)
                        m.next = "ADDRESS"
                    with m.Elif(complete & (missing == 0)):
                        m.d.sync += [active.eq(0), complete.eq(0)]
            with m.State("ADDRESS"):
                m.d.comb += self.axi.awvalid.eq(1)
                m.d.sync += sent.eq(1)
                with m.If(self.axi.awready):
                    m.d.sync += address.eq(address + length)
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    self.axi.wvalid.eq(fifo.r_rdy),
                    self.axi.wlast.eq(sent == length),
                    fifo.r_en.eq(self.axi.wready),
                    put.eq(fifo.r_rdy & self.axi.wready),
                ]
                with m.If(put):
                    m.d.sync += sent.eq(sent + 1)
                    with m.If(self.axi.wlast):
                        m.next = "PLAN"

        m.d.comb += self.busy.eq(active)
        with m.If(answered & (self.axi.bresp != Response.OKAY)):
            m.d.sync += self.error.eq(1)
        with m.If(self.start & ~active & ~self.cancel):
            m.d.sync += [active.eq(1), address.eq(self.address >> shift), self.error.eq(0)]
        return m
