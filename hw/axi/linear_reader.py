"""Reads a contiguous piece of memory as a stream of beats."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.axi.signature import BOUNDARY, AxiRead, Burst, Response
from hw.config import AcceleratorConfig
from hw.cost import Resources, buffered_fifo
from triovit.errors import InternalError

#: Bits of a count of beats.
BEATS_BITS = 32


class LinearReader(wiring.Component):
    """``beats`` beats from ``address`` on, in bursts that never cross a 4 KB boundary.

    A burst is issued only when the FIFO has room for all of it, so the bus never waits for the stream; as many bursts are
    outstanding as the FIFO holds. A burst is planned and issued in two cycles (more where the bus waits); data pass at one beat
    a cycle, with a latency of two cycles from ``rvalid`` to ``o.valid``.

    Parameters
    ----------
    config :
        Sizes of the bus.
    fifo_depth :
        Beats that the FIFO holds; at least one burst, two for continuous transfer.

    Members
    -------
    start : In(1)
        Strobe; ignored while ``busy`` or ``cancel``.
    address, beats : In
        Byte address (its lowest bits, below a beat, are ignored) and number of beats (0: nothing happens).
    o : Out(stream)
        The beats in order.
    busy : Out(1)
        From the cycle after ``start`` until the last beat has left ``o``.
    error : Out(1)
        A beat came with another response than OKAY; stays until the next start.
    cancel : In(1)
        A level: issue nothing more, swallow what is outstanding. ``o`` is not valid meanwhile, which breaks the promise of a
        stream: the consumer must be reset too. ``busy`` falls when nothing is outstanding any more.
    axi : Out(AxiRead)
        The bus.
    """

    def __init__(self, config: AcceleratorConfig, fifo_depth: int | None = None):
        self._config = config
        self._depth = 4 * config.axi_burst if fifo_depth is None else fifo_depth
        if self._depth < config.axi_burst:
            raise InternalError(f"a reader's FIFO has {self._depth} beats, and must hold a burst of {config.axi_burst}")
        super().__init__({
            "start": In(1),
            "address": In(config.axi_address_bits),
            "beats": In(BEATS_BITS),
            "o": Out(stream.Signature(unsigned(8 * config.beat_bytes))),
            "busy": Out(1),
            "error": Out(1),
            "cancel": In(1),
            "axi": Out(AxiRead(config)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig, fifo_depth: int | None = None) -> Resources:
        """The FIFO."""
        return buffered_fifo(8 * config.beat_bytes, 4 * config.axi_burst if fifo_depth is None else fifo_depth)

    def elaborate(self, platform: object) -> Module:
        """A burst planner and a FIFO with credits."""
        m = Module()
        shift = ceil_log2(self._config.beat_bytes)
        page_beats = BOUNDARY // self._config.beat_bytes
        # Slots of the FIFO that hold no beat and expect none.
        space = Signal(range(self._depth + 1), init=self._depth)
        # The address counts beats: what is below a beat is zero.
        address = Signal(self._config.axi_address_bits - shift)
        remaining = Signal(BEATS_BITS)
        length = Signal(range(self._config.axi_burst + 1))
        planned, arrived, left = Signal(), Signal(), Signal()

        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8 * self._config.beat_bytes, depth=self._depth)
        m.d.comb += [
            fifo.w_data.eq(self.axi.rdata),
            fifo.w_en.eq(self.axi.rvalid),
            self.axi.rready.eq(fifo.w_rdy),
            arrived.eq(self.axi.rvalid & fifo.w_rdy),
            self.o.payload.eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy & ~self.cancel),
            fifo.r_en.eq(self.o.ready | self.cancel),
            left.eq(fifo.r_rdy & fifo.r_en),
        ]

        to_boundary = Signal(range(page_beats + 1))
        m.d.comb += to_boundary.eq(page_beats - address[:ceil_log2(page_beats)])
        shortest = Signal.like(length)
        m.d.comb += shortest.eq(self._config.axi_burst)
        with m.If((remaining < self._config.axi_burst) & (remaining <= to_boundary)):
            m.d.comb += shortest.eq(remaining)
        with m.Elif(to_boundary < self._config.axi_burst):
            m.d.comb += shortest.eq(to_boundary)

        m.d.comb += [
            self.axi.arvalid.eq(planned),
            self.axi.araddr.eq(address << shift),
            self.axi.arlen.eq(length - 1),
            self.axi.arsize.eq(shift),
            self.axi.arburst.eq(Burst.INCR),
        ]
        issued = Signal()
        m.d.comb += issued.eq(planned & self.axi.arready)
        with m.If(issued):
            m.d.sync += [planned.eq(0), address.eq(address + length), remaining.eq(remaining - length)]
        with m.Elif(~planned & self.cancel):
            m.d.sync += remaining.eq(0)
        with m.Elif(~planned & (remaining != 0) & (space >= shortest)):
            m.d.sync += [planned.eq(1), length.eq(shortest)]

        reserved = Signal.like(length)
        m.d.comb += reserved.eq(Mux(issued, length, 0))
        m.d.sync += space.eq(space + left - reserved)
        # All slots are free again exactly when nothing is outstanding and nothing is in the FIFO.
        m.d.comb += self.busy.eq(planned | (remaining != 0) | (space != self._depth))
        with m.If(arrived & (self.axi.rresp != Response.OKAY)):
            m.d.sync += self.error.eq(1)
        with m.If(self.start & ~self.busy & ~self.cancel):
            m.d.sync += [address.eq(self.address >> shift), remaining.eq(self.beats), self.error.eq(0)]
        return m
