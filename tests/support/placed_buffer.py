"""An activation buffer behind the placement of its writes, as one unit."""

from typing import Any

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.config import AcceleratorConfig
from hw.interfaces import ReadSignature, WriteSignature
from hw.memory.act_buffer import ActBuffer, WideReadSignature
from hw.memory.bank_buffer import BankBuffer
from hw.memory.placement import Placement
from hw.memory.reader import Reader


class PlacedBuffer(wiring.Component):
    """``read`` of an :class:`ActBuffer`, or where ``wide`` is 1 of a :class:`BankBuffer`'s reader; ``write`` before placement."""

    def __init__(self, config: AcceleratorConfig, rows: int, wide: int = 1):
        self.config, self.rows, self.wide = config, rows, wide
        self.read_latency, self.write_latency = (
            (ActBuffer.read_latency, ActBuffer.write_latency) if wide > 1 else (Reader.latency, BankBuffer.write_latency)
        )
        read = WideReadSignature(config, wide) if wide > 1 else ReadSignature(config)
        super().__init__({"read": In(read), "write": In(WriteSignature(config))})

    def ask(self, ctx: Any, **fields: int) -> None:
        """Give a request; of its fields those count that the buffer has."""
        for name, value in {"valid": 1, **fields}.items():
            if name in self.read.signature.members:
                ctx.set(getattr(self.read, name), value)

    def answer(self, ctx: Any, sub: int, lane: int) -> list[int]:
        """The word that a lane of a sub-buffer reads now."""
        data = self.read.data[sub] if self.wide > 1 else self.read.data
        return [ctx.get(channel) for channel in data[lane]]

    def elaborate(self, platform: object) -> Module:
        """Placement, then the buffer."""
        m = Module()
        m.submodules.placement = placement = Placement(self.config, max(2, self.wide))
        buffer: ActBuffer | BankBuffer
        if self.wide > 1:
            m.submodules.buffer = buffer = ActBuffer(self.config, self.rows, self.wide)
            wiring.connect(m, wiring.flipped(self.read), buffer.read)
            for name in ("px", "cg", "rows", "fold", "ring"):
                m.d.comb += getattr(buffer.write, name).eq(self.write.payload[name])
            m.d.comb += buffer.write.placed.eq(placement.placed)
        else:
            m.submodules.buffer = buffer = BankBuffer(self.config, self.rows)
            m.submodules.reader = reader = Reader(self.config, self.rows)
            wiring.connect(m, wiring.flipped(self.read), reader.read)
            wiring.connect(m, reader.banks, buffer.read)
            # What tells sub-buffers is for the wide buffer, which may have another number of them.
            m.d.comb += [buffer.write.placed[name].eq(placement.placed[name]) for name in ("mask", "rows", "words")]
        m.d.comb += [
            placement.write.eq(self.write.payload),
            buffer.write.valid.eq(self.write.valid),
            buffer.write.base.eq(self.write.payload.base),
        ]
        return m
