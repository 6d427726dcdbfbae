"""The read port while a picture is loaded: the weight stream is read ahead at the same time, and both take turns."""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

from hw.compiler.packets import Packet, ring_rows
from hw.compiler.tasks import Task
from hw.config import AcceleratorConfig
from hw.io.gearbox import PAIR_BYTES
from hw.io.loader import LINES, Loader
from hw.top import WEIGHT_BURSTS
from triovit.errors import InternalError

#: Bursts that the loader and the descriptor fetch have under way, and bursts that the arbiter has.
LOADER_BURSTS, FETCH_BURSTS, OUTSTANDING = 4, 2, 16
#: Cycles from the dispatch of LOAD to its first request; from a request to the memory; from the port to whoever takes a beat.
REQUEST, ARBITER, ARRIVE = 4, 2, 2
#: Cycles from the issue of pixels to their being readable, LOAD ending when the last ones are; and from MAT's last read of pixels
#: to the first issue of what overwrites them in a ring.
READABLE, OVERWRITTEN = 8, 3
#: The descriptor fetch among the readers, after weights and picture.
FETCH = 2


@dataclass
class _Reader:
    """A linear reader: its FIFO's free places, what it has yet to ask for and to hand on, and the beats in the FIFO."""

    space: int
    remaining: int
    waiting: int = 0
    expected: int = 0

    def __post_init__(self) -> None:
        self.expected = self.remaining

    def wants(self, burst: int) -> bool:
        return self.remaining > 0 and self.space >= min(burst, self.remaining)

    def take(self) -> None:
        self.waiting -= 1
        self.expected -= 1
        self.space += 1


def read_ahead(packets: list[Packet], config: AcceleratorConfig) -> tuple[int, int]:
    """Beats of the weight stream that the rings hold before any task has used a row, and beats that are read until then."""
    depths = ring_rows(config)
    rows = dict.fromkeys(depths, 0)
    beats = 0
    for packet in packets:
        fitting = min(packet.rows, depths[packet.kind] - rows[packet.kind])
        rows[packet.kind] += fitting
        if fitting < packet.rows:
            beats += 1 + (packet.beats(config) - 1) * fitting // packet.rows
            return beats, beats + min(WEIGHT_BURSTS * config.axi_burst, sum(one.beats(config) for one in packets) - beats)
        beats += packet.beats(config)
    return beats, beats


class Loading:
    """A LOAD dispatched at ``start``, simulated as far as is asked for, while weights are read (:func:`read_ahead`).

    ``origin`` is when the run's clock shows 0 in this one's time, where only the distance counts.
    """

    def __init__(
        self, task: Task, config: AcceleratorConfig, latency: int, start: int, weight_beats: tuple[int, int], origin: int = 0
    ):
        self.config, self._latency, self._start, self._origin = config, latency, start, origin
        self._ahead, wanted = weight_beats
        self._width, self._height, self._columns = task.get("w_in"), task.get("h_in"), task.get("w_out")
        self._pixels = task.get("px_end")
        self._at_once, self._parts = Loader.pixels(config), Loader.parts(config)
        self._capacity = config.l << task.get("dst_ring") if task.get("dst_ring") else None
        burst = config.axi_burst
        self._weights = _Reader(WEIGHT_BURSTS * burst, wanted)
        self._picture = _Reader(LOADER_BURSTS * burst, -(-3 * self._width * self._height // config.beat_bytes))
        # Reader, beats left, first cycle. The first descriptors were asked for before everything else.
        self._requests: deque[list[int]] = deque([[FETCH, FETCH_BURSTS * burst, ARBITER + latency]])
        self._arriving: deque[tuple[int, int]] = deque()
        self._fetch = _Reader(0, 0)
        self._turn, self._free_at = 1, 0
        # What is left of the last beat, in bytes, and of the last chunk, in pairs; rows, and pairs and pixels of a row.
        self._bytes_left = self._pairs_left = 0
        self._y_in = self._x_in = self._y_out = self._x_out = 0
        self._issued = self._busy = self._now = 0
        self._written: list[tuple[int, int]] = []
        self._consumed: deque[tuple[int, int]] = deque([(0, 0)])

    def readable(self, pixels: int) -> int:
        """When MAT can read the first ``pixels`` pixels."""
        while self._issued < pixels:
            if self._full() and len(self._consumed) == 1:
                raise InternalError(f"LOAD waits for room in a ring of {self._capacity} pixels, {self._issued} of them written")
            self._step()
        return self._written[bisect_left(self._written, (pixels, 0))][1] + self._origin

    def consume(self, pixels: int, time: int) -> None:
        """MAT has asked for the last words of the first ``pixels`` pixels at ``time``."""
        self._consumed.append((pixels, time - self._origin + OVERWRITTEN))

    @property
    def end(self) -> int:
        """When the last pixel can be read; in a ring only where it is known what was consumed until then."""
        return self.readable(self._pixels)

    def _full(self) -> bool:
        """Whether a write now would overwrite what is still to be read."""
        while len(self._consumed) > 1 and self._consumed[1][1] <= self._now:
            self._consumed.popleft()
        return self._capacity is not None and self._issued + self._at_once > self._consumed[0][0] + self._capacity

    def _step(self) -> None:
        """A cycle; what it finds is what the cycles before it left."""
        self._unfold_and_fill()
        self._bus()
        self._now += 1

    def _bus(self) -> None:
        burst, now = self.config.axi_burst, self._now
        readers = (self._weights, self._picture, self._fetch)
        if now >= self._free_at and len(self._requests) < OUTSTANDING:
            for chosen in (1 - self._turn, self._turn):
                if readers[chosen].wants(burst) and (chosen == 0 or now >= self._start + REQUEST):
                    length = min(burst, readers[chosen].remaining)
                    readers[chosen].space -= length
                    readers[chosen].remaining -= length
                    self._requests.append([chosen, length, now + ARBITER + self._latency])
                    self._turn, self._free_at = chosen, now + 2
                    break
        if self._requests and self._requests[0][2] <= now:
            self._arriving.append((now + ARRIVE, self._requests[0][0]))
            self._requests[0][1] -= 1
            if not self._requests[0][1]:
                self._requests.popleft()
        while self._arriving and self._arriving[0][0] <= now:
            readers[self._arriving.popleft()[1]].waiting += 1
        if self._weights.waiting and self._ahead:
            self._weights.take()
            self._ahead -= 1

    def _unfold_and_fill(self) -> None:
        at_once, ahead = self._at_once, self._y_in - 2 * self._y_out
        half, chunk = self._x_out // at_once, self._x_in // (2 * at_once)
        fills = self._y_in < self._height and (ahead < LINES - 1 or chunk < half // 2)
        there = ahead >= 2 or self._y_in == self._height or (ahead == 1 and chunk > half // 2)
        if self._busy:
            self._busy -= 1
        elif there and self._issued < self._pixels and not self._full():
            count = min(at_once, self._columns - self._x_out)
            self._busy = self._parts - 1
            self._issued += count
            self._written.append((self._issued, self._now + self._parts - 1 + READABLE))
            self._x_out += count
            if self._x_out == self._columns:
                self._x_out, self._y_out = 0, self._y_out + 1
        if fills:
            self._fill()

    def _fill(self) -> None:
        """A chunk of a row, of fewer pairs at its end, as far as what is left of chunks and beats makes one."""
        whole = 2 * self._at_once
        count = min(whole, self._width // 2 - self._x_in)
        if count > self._pairs_left:
            if whole * PAIR_BYTES <= self._bytes_left:
                self._bytes_left -= whole * PAIR_BYTES
            elif self._picture.waiting:
                self._picture.take()
                self._bytes_left += self.config.beat_bytes - whole * PAIR_BYTES
            elif self._bytes_left and not self._picture.expected:
                self._bytes_left = 0
            else:
                return
            self._pairs_left += whole
        self._pairs_left -= count
        self._x_in += count
        if 2 * self._x_in == self._width:
            self._x_in, self._y_in = 0, self._y_in + 1
