"""Fetches the program."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.axi.linear_reader import LinearReader
from hw.axi.signature import AxiRead
from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR
from hw.control.register_map import INDEX_BITS
from hw.cost import Resources


class DescriptorFetch(wiring.Component):
    """Reads ``count`` descriptors from ``address`` on, two bursts ahead.

    With one, the next burst is asked for when the last descriptor of the one before has left, and then comes behind all weights
    that the bus owes: every so many descriptors a task would start a hundred cycles late.

    A descriptor leaves one cycle after its last beat, and the next one needs ``descriptor_beats`` cycles.

    Members
    -------
    start : In(1)
        Strobe; ignored while ``busy`` or ``cancel``.
    address, count : In
        Byte address, a multiple of a beat, and number of descriptors.
    o : Out(stream of DESCRIPTOR)
        The descriptors in order.
    busy, error, cancel :
        As of :class:`hw.axi.linear_reader.LinearReader`; ``cancel`` also forgets what was fetched.
    axi : Out(AxiRead)
        The bus.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "address": In(config.axi_address_bits),
            "count": In(INDEX_BITS),
            "o": Out(stream.Signature(DESCRIPTOR)),
            "busy": Out(1),
            "error": Out(1),
            "cancel": In(1),
            "axi": Out(AxiRead(config)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The reader."""
        return LinearReader.resources(config, DescriptorFetch._depth(config))

    @staticmethod
    def _depth(config: AcceleratorConfig) -> int:
        return 2 * max(config.axi_burst, config.descriptor_beats)

    def elaborate(self, platform: object) -> Module:
        """A reader, and a register that collects the beats of a descriptor."""
        m = Module()
        beats = self._config.descriptor_beats
        m.submodules.reader = reader = LinearReader(self._config, self._depth(self._config))
        wiring.connect(m, reader.axi, wiring.flipped(self.axi))
        m.d.comb += [
            reader.start.eq(self.start),
            reader.address.eq(self.address),
            reader.beats.eq(self.count << ceil_log2(beats)),
            reader.cancel.eq(self.cancel),
            self.busy.eq(reader.busy),
            self.error.eq(reader.error),
        ]
        part = Signal(range(max(2, beats)))
        collected = Signal(DESCRIPTOR.size)
        full = Signal()
        m.d.comb += [
            reader.o.ready.eq(~full | self.o.ready),
            self.o.valid.eq(full),
            self.o.payload.as_value().eq(collected),
        ]
        with m.If(self.o.ready):
            m.d.sync += full.eq(0)
        with m.If(reader.o.valid & reader.o.ready):
            m.d.sync += [
                collected.eq(Cat(collected, reader.o.payload)[-DESCRIPTOR.size:]),
                part.eq(Mux(part == beats - 1, 0, part + 1)),
                full.eq(part == beats - 1),
            ]
        with m.If(self.cancel):
            m.d.sync += [full.eq(0), part.eq(0)]
        return m
