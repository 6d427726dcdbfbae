"""Reads a contiguous piece of memory of which the first part comes several times."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.axi.linear_reader import BEATS_BITS, LinearReader
from hw.axi.signature import AxiRead
from hw.config import AcceleratorConfig
from hw.cost import Resources

#: Bits of the number of times that the first part is read.
PASSES_BITS = 8


class LoopedReader(wiring.Component):
    """The first ``repeated`` of ``beats`` beats ``passes`` times, then the others once.

    Between two passes, and before what follows the last one, the stream pauses: the next request is made when the last beat has
    been taken. It costs the memory's latency and :attr:`pause` cycles, which whoever takes the beats hides where it has enough of
    them.

    Parameters
    ----------
    config :
        Sizes of the bus.
    fifo_depth :
        Beats that the FIFO holds (:class:`hw.axi.linear_reader.LinearReader`).

    Members
    -------
    start, address, beats, o, error, cancel, axi :
        As of :class:`hw.axi.linear_reader.LinearReader`.
    repeated : In(32)
        Beats of the first part, at most ``beats``; 0 if nothing is repeated.
    passes : In(8)
        How often the first part is read; 0 is the same as 1.
    busy : Out(1)
        From the cycle after ``start`` until the last beat of all has left ``o``, or ``cancel`` has been obeyed.
    """

    #: Cycles from the last beat of a pass to the next one's first, beyond the memory's latency on an idle bus.
    pause = 5

    def __init__(self, config: AcceleratorConfig, fifo_depth: int | None = None):
        self._config, self._fifo_depth = config, fifo_depth
        super().__init__({
            "start": In(1),
            "address": In(config.axi_address_bits),
            "beats": In(BEATS_BITS),
            "repeated": In(BEATS_BITS),
            "passes": In(PASSES_BITS),
            "o": Out(stream.Signature(unsigned(8 * config.beat_bytes))),
            "busy": Out(1),
            "error": Out(1),
            "cancel": In(1),
            "axi": Out(AxiRead(config)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig, fifo_depth: int | None = None) -> Resources:
        """The reader's."""
        return LinearReader.resources(config, fifo_depth)

    def elaborate(self, platform: object) -> Module:
        """A reader that is started again for each part."""
        m = Module()
        m.submodules.reader = reader = LinearReader(self._config, self._fifo_depth)
        wiring.connect(m, reader.axi, wiring.flipped(self.axi))
        wiring.connect(m, reader.o, wiring.flipped(self.o))
        shift = ceil_log2(self._config.beat_bytes)
        # The part that comes next, and how often the first one is still to come.
        left = Signal(PASSES_BITS)
        rest, rest_address = Signal(BEATS_BITS), Signal(self._config.axi_address_bits)
        loops = Signal()
        m.d.comb += [
            loops.eq((self.passes > 1) & (self.repeated != 0)),
            reader.cancel.eq(self.cancel),
            self.error.eq(reader.error),
        ]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += [
                    reader.address.eq(self.address),
                    reader.beats.eq(Mux(loops, self.repeated, self.beats)),
                    reader.start.eq(self.start),
                ]
                with m.If(self.start & ~reader.busy & ~self.cancel & loops):
                    m.d.sync += [
                        left.eq(self.passes - 1),
                        rest.eq(self.beats - self.repeated),
                        rest_address.eq(self.address + (self.repeated << shift)),
                    ]
                    m.next = "PART"
            with m.State("PART"):
                again = left != 0
                m.d.comb += [
                    reader.address.eq(Mux(again, self.address, rest_address)), reader.beats.eq(Mux(again, self.repeated, rest)),
                ]
                with m.If(self.cancel):
                    m.next = "IDLE"
                with m.Elif(~reader.busy):
                    m.d.comb += reader.start.eq(1)
                    m.d.sync += left.eq(left - 1)
                    with m.If(~again):
                        m.next = "IDLE"
            m.d.comb += self.busy.eq(reader.busy | ~fsm.ongoing("IDLE"))
        return m
