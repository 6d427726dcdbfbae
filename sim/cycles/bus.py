"""The read port while a picture is loaded: the weight stream is read ahead at the same time, and both take turns."""

from collections import deque
from dataclasses import dataclass

from hw.compiler.packets import PARAMS, WEIGHTS, Packet
from hw.compiler.tasks import Task
from hw.config import AcceleratorConfig
from hw.io.gearbox import PAIR_BYTES
from hw.io.loader import HELD_ROWS
from hw.top import WEIGHT_BURSTS

#: Bursts that the loader and the descriptor fetch have under way, and bursts that the arbiter has.
LOADER_BURSTS, FETCH_BURSTS, OUTSTANDING = 4, 2, 16
#: Cycles from the dispatch of LOAD to its first request; from a request to the memory; from the port to whoever takes a beat.
REQUEST, ARBITER, ARRIVE = 4, 2, 2
#: Cycles from a pixel's column to its being readable; LOAD ends when the last pixel is.
READABLE = 9
#: The descriptor fetch among the readers, after weights and picture.
FETCH = 2


@dataclass
class _Reader:
    """A linear reader: its FIFO's free places, what it has yet to ask for, and the beats in the FIFO."""

    space: int
    remaining: int
    waiting: int = 0

    def wants(self, burst: int) -> bool:
        return self.remaining > 0 and self.space >= min(burst, self.remaining)

    def take(self) -> None:
        self.waiting -= 1
        self.space += 1


def read_ahead(packets: list[Packet], config: AcceleratorConfig) -> tuple[int, int]:
    """Beats of the weight stream that the rings hold before any task has used a row, and beats that are read until then."""
    rows: dict[int, int] = dict.fromkeys((*WEIGHTS.values(), *PARAMS.values()), 0)
    beats = 0
    for packet in packets:
        depth = config.param_rows if packet.kind in PARAMS.values() else config.weight_rows
        fitting = min(packet.rows, depth - rows[packet.kind])
        rows[packet.kind] += fitting
        if fitting < packet.rows:
            beats += 1 + (packet.beats(config) - 1) * fitting // packet.rows
            return beats, beats + min(WEIGHT_BURSTS * config.axi_burst, sum(one.beats(config) for one in packets) - beats)
        beats += packet.beats(config)
    return beats, beats


def load_times(task: Task, config: AcceleratorConfig, latency: int, start: int, weight_beats: tuple[int, int]) -> list[int]:
    """When MAT can read each pixel of a LOAD dispatched at ``start``, while weights are read (:func:`read_ahead`)."""
    ahead, wanted = weight_beats
    width, height, burst = task.get("w_in"), task.get("h_in"), config.axi_burst
    columns, parts = task.get("w_out"), -(-task.get("dst_cg_end") // config.l)
    rows = task.get("px_end") // columns
    weights = _Reader(WEIGHT_BURSTS * burst, wanted)
    picture = _Reader(LOADER_BURSTS * burst, -(-3 * width * height // config.beat_bytes))
    # Reader, beats left, first cycle. The first descriptors were asked for before everything else.
    requests: deque[list[int]] = deque([[FETCH, FETCH_BURSTS * burst, ARBITER + latency]])
    arriving: deque[tuple[int, int]] = deque()
    readers, turn, free_at = (weights, picture, _Reader(0, 0)), 1, 0
    held = pairs = x = y = busy = 0
    times: list[int] = []
    now = 0
    while y < rows:
        if now >= free_at and len(requests) < OUTSTANDING:
            for chosen in (1 - turn, turn):
                if readers[chosen].wants(burst) and (chosen == 0 or now >= start + REQUEST):
                    length = min(burst, readers[chosen].remaining)
                    readers[chosen].space -= length
                    readers[chosen].remaining -= length
                    requests.append([chosen, length, now + ARBITER + latency])
                    turn, free_at = chosen, now + 2
                    break
        if requests and requests[0][2] <= now:
            arriving.append((now + ARRIVE, requests[0][0]))
            requests[0][1] -= 1
            if not requests[0][1]:
                requests.popleft()
        while arriving and arriving[0][0] <= now:
            readers[arriving.popleft()[1]].waiting += 1
        if weights.waiting and ahead:
            weights.take()
            ahead -= 1
        # Up to two pairs of pixels enter the line buffer, and none of a row that would overwrite one in use.
        count = min(2, held // PAIR_BYTES)
        if count and 2 * (pairs + count - 1) // width <= 2 * y + HELD_ROWS - 2:
            held -= count * PAIR_BYTES
            pairs += count
        if held < 2 * PAIR_BYTES and picture.waiting:
            picture.take()
            held += config.beat_bytes
        if busy:
            busy -= 1
        elif 2 * pairs >= width * min(2 * y + 2, height):
            busy = parts - 1
            times.append(now + parts - 1 + READABLE)
            x += 1
            if x == columns:
                x, y = 0, y + 1
        now += 1
    return times
