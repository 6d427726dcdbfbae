"""The weight stream in time, against times counted by hand."""

import numpy as np
import pytest

from hw.compiler.packets import PARAMS, WEIGHTS, Packet
from hw.config import TOY, ZCU102
from sim.cycles.stream import Ring, WeightStream

ARRIVE = WeightStream.ARRIVE


def packet(kind: int, rows: int, split: int = 0, config=TOY) -> Packet:
    words = config.param_beats if kind in PARAMS.values() else 1
    return Packet(kind, split, np.zeros((rows, config.l >> split, words * config.beat_bytes), np.uint8))


def test_rows_arrive_a_beat_a_cycle_behind_a_header():
    stream = WeightStream(TOY, 100)
    stream.deliver(packet(WEIGHTS["mat"], 3))
    # The header is the beat of cycle 101; a row is four beats, one for each slot.
    assert stream.rings[WEIGHTS["mat"]].arrived == [105 + ARRIVE, 109 + ARRIVE, 113 + ARRIVE]
    assert (stream.time, stream.beats) == (113, 13)
    assert stream.rings[WEIGHTS["rmac"]].arrived == []


@pytest.mark.parametrize(("split", "beats"), [(0, 4), (1, 2), (2, 1)])
def test_slots_that_share_words_take_fewer_beats(split, beats):
    stream = WeightStream(TOY, 0)
    stream.deliver(packet(WEIGHTS["rmac"], 2, split))
    assert stream.rings[WEIGHTS["rmac"]].arrived == [1 + beats + ARRIVE, 1 + 2 * beats + ARRIVE]
    assert stream.beats == 1 + 2 * beats


@pytest.mark.parametrize("config", [TOY, ZCU102])
def test_parameters_take_their_beats(config):
    stream = WeightStream(config, 0)
    stream.deliver(packet(PARAMS["mat"], 1, 0, config))
    assert stream.rings[PARAMS["mat"]].arrived == [1 + config.l * config.param_beats + ARRIVE]


def test_packets_follow_each_other_whatever_their_ring():
    stream = WeightStream(TOY, 0)
    for kind in (WEIGHTS["mat"], PARAMS["rmac"], WEIGHTS["mat"]):
        stream.deliver(packet(kind, 1, 2))
    first, second = stream.rings[WEIGHTS["mat"]].arrived
    assert first == 2 + ARRIVE
    assert stream.rings[PARAMS["rmac"]].arrived == [2 + 1 + TOY.param_beats + ARRIVE]
    assert second == 2 + 1 + TOY.param_beats + 2 + ARRIVE


def test_a_full_ring_holds_everything_up_until_a_row_is_released():
    stream = WeightStream(TOY, 0)
    ring = stream.rings[WEIGHTS["mat"]] = Ring(4)
    stream.deliver(packet(WEIGHTS["mat"], 4, 2))
    assert stream.time == 5
    ring.release(2, 50)
    stream.deliver(packet(WEIGHTS["mat"], 2, 2))
    stream.deliver(packet(WEIGHTS["rmac"], 1, 2))
    # Two places are free after 50, the header having gone through before.
    assert ring.arrived[4:] == [52 + ARRIVE, 53 + ARRIVE]
    assert stream.rings[WEIGHTS["rmac"]].arrived == [55 + ARRIVE]


def test_a_place_that_was_free_long_ago_costs_nothing():
    stream = WeightStream(TOY, 100)
    ring = stream.rings[WEIGHTS["mat"]] = Ring(1)
    stream.deliver(packet(WEIGHTS["mat"], 1, 2))
    ring.release(1, 10)
    stream.deliver(packet(WEIGHTS["mat"], 1, 2))
    assert [time - ARRIVE for time in ring.arrived] == [102, 104]


def test_only_the_last_beat_of_a_parameter_word_waits():
    stream = WeightStream(TOY, 0)
    ring = stream.rings[PARAMS["mat"]] = Ring(1)
    stream.deliver(packet(PARAMS["mat"], 1, 2))
    ring.release(1, 50)
    stream.deliver(packet(PARAMS["mat"], 1, 2))
    # Its other beats are gathered before; the last one is taken in the cycle after the place became free.
    assert ring.arrived[1] == 52 + ARRIVE
