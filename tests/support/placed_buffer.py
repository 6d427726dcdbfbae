"""An activation buffer behind the placement of its writes, as one unit."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.config import AcceleratorConfig
from hw.interfaces import WriteSignature
from hw.memory.act_buffer import ActBuffer, WideReadSignature
from hw.memory.placement import Placement


class PlacedBuffer(wiring.Component):
    """``read`` and ``write`` of an :class:`ActBuffer`, the latter before it was placed."""

    read_latency, write_latency = ActBuffer.read_latency, ActBuffer.write_latency

    def __init__(self, config: AcceleratorConfig, rows: int, wide: int = 1):
        self.config, self.rows, self.wide = config, rows, wide
        super().__init__({"read": In(WideReadSignature(config, wide)), "write": In(WriteSignature(config))})

    def elaborate(self, platform: object) -> Module:
        """Placement, then the buffer."""
        m = Module()
        m.submodules.placement = placement = Placement(self.config, max(2, self.wide))
        m.submodules.buffer = buffer = ActBuffer(self.config, self.rows, self.wide)
        wiring.connect(m, wiring.flipped(self.read), buffer.read)
        m.d.comb += [
            placement.write.eq(self.write.payload),
            buffer.write.valid.eq(self.write.valid),
            buffer.write.base.eq(self.write.payload.base),
        ]
        if self.wide > 1:
            for name in ("px", "cg", "rows", "fold", "ring"):
                m.d.comb += getattr(buffer.write, name).eq(self.write.payload[name])
            m.d.comb += buffer.write.placed.eq(placement.placed)
        else:
            # What tells sub-buffers is for the wide buffer, which may have another number of them.
            m.d.comb += [buffer.write.placed[name].eq(placement.placed[name]) for name in ("mask", "rows", "words")]
        return m
