"""The weight stream in time: when each row arrives in its ring, and when its place is free again."""

from dataclasses import dataclass, field

from hw.compiler.packets import PARAMS, Packet, ring_rows
from hw.config import AcceleratorConfig


@dataclass
class Ring:
    """Arrival times of all rows so far, and the times from which the place of each was free again."""

    depth: int
    arrived: list[int] = field(default_factory=list)
    freed: list[int] = field(default_factory=list)

    def release(self, rows: int, time: int) -> None:
        """The next ``rows`` rows are used up at ``time``."""
        self.freed.extend([time] * rows)


class WeightStream:
    """One beat a cycle from ``start`` on, packet by packet, waiting where a ring is full.

    The first ``repeated`` packets come ``passes`` times; the stream pauses for ``pause`` cycles behind each pass.
    """

    #: Cycles from the last beat of a row to the engine's seeing it: decoder and ring.
    ARRIVE = 3

    def __init__(self, config: AcceleratorConfig, start: int, repeated: int = 0, passes: int = 1, pause: int = 0):
        self.config = config
        self.pause = pause
        self._pauses = {repeated * index for index in range(1, passes + 1)} if repeated and passes > 1 else set()
        self._packets = 0
        self.time = start
        self.beats = 0
        self.rings = {kind: Ring(rows) for kind, rows in ring_rows(config).items()}

    def deliver(self, packet: Packet) -> None:
        """Take the packet's beats as early as its ring allows."""
        if self._packets in self._pauses:
            self.time += self.pause
        self._packets += 1
        ring = self.rings[packet.kind]
        slots = self.config.l >> packet.split
        beats = slots * (self.config.param_beats if packet.kind in PARAMS.values() else 1)
        # The decoder gathers the beats of a parameter word, and only the last one needs the ring.
        gathered = self.config.param_beats - 1 if packet.kind in PARAMS.values() else 0
        self.time += 1
        for _ in range(packet.rows):
            row = len(ring.arrived)
            if row >= ring.depth:
                self.time = max(self.time + gathered, ring.freed[row - ring.depth] + 1) - gathered
            self.time += beats
            ring.arrived.append(self.time + self.ARRIVE)
        self.beats += packet.beats(self.config)
