"""Where tensors lie, and what the blocks run over."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.compiler.mapping import Mapping, best_pw, pw_cycles
from hw.compiler.places import BufferMap, NoPlaceError, Place
from hw.config import TOY
from hw.control.descriptor import Buffer

X, Y, H = Buffer.X, Buffer.Y, Buffer.H


def test_a_place_has_rows_for_every_channel_group():
    place = BufferMap(TOY).take("a", (X,), 3, 5, 1)
    assert place == Place(X, base=0, rows=2, skew=1, groups=3, pixels=5, height=6) and place.end == 6


def test_h_holds_four_channel_groups_a_row():
    assert BufferMap(TOY).take("a", (H,), 5, 9, 2) == Place(H, base=0, rows=3, skew=2, groups=5, pixels=9, height=6)
    assert BufferMap(TOY).depth(H) == TOY.h_rows // TOY.wide


def test_first_fit_and_frees():
    held = BufferMap(TOY)
    bases = {name: held.take(name, (X,), height, 4, 0).base for name, height in (("a", 5), ("b", 3), ("c", 4))}
    assert bases == {"a": 0, "b": 5, "c": 8}
    held.free("b")
    # Too high for the gap, then as high as the gap, then behind everything.
    assert [held.take(name, (X,), height, 4, 0).base for name, height in (("d", 4), ("e", 3), ("f", 1))] == [12, 5, 16]
    held.free("a")
    held.free("c")
    assert [held.take(name, (X,), height, 4, 0).base for name, height in (("g", 2), ("h", 4), ("i", 3))] == [0, 8, 2]


def test_the_emptiest_buffer_is_taken():
    held = BufferMap(TOY)
    assert [held.take(str(height), (X, Y), height, 4, 0).buffer for height in (5, 3, 1, 4)] == [X, Y, Y, Y]
    held.free("5")
    assert held.take("last", (X, Y), 1, 4, 0).buffer is X


def test_a_full_buffer_gives_way_to_the_other():
    small = TOY.with_(name="small", x_rows=4, y_rows=8)
    held = BufferMap(small)
    held.take("y", (Y,), 1, 4, 0)
    assert held.take("a", (X, Y), 5, 4, 0) == Place(Y, 1, 1, 0, 5, 4, 5)


def test_a_tensor_in_two_buffers_is_freed_in_both():
    held = BufferMap(TOY)
    for buffer in (X, H):
        held.take("a", (buffer,), 4, 8, 0)
    held.free("a")
    assert [held.take("b", (buffer,), 4, 8, 0).base for buffer in (X, H)] == [0, 0]


@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        (
            (X, Y),
            "layer big: its output of 1028 channels x 15 pixels does not fit buffer X or Y of configuration toy (1024 rows); "
            "use a larger configuration or a smaller resolution",
        ),
        (
            (Buffer.O,),
            "layer big: its output of 1028 channels x 15 pixels does not fit buffer O of configuration toy (64 rows); "
            "use a larger configuration or a smaller resolution",
        ),
    ],
)
def test_what_does_not_fit_is_named(buffers, message):
    with pytest.raises(NoPlaceError) as error:
        BufferMap(TOY).take("big", buffers, 257, 15, 0)
    assert str(error.value) == message


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 40)), min_size=1, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_places_never_overlap(sizes, rng: random.Random):
    held, alive = BufferMap(TOY), {}
    for index, (groups, pixels) in enumerate(sizes):
        if alive and rng.random() < 0.4:
            held.free(gone := rng.choice(sorted(alive)))
            del alive[gone]
        place = held.take(f"t{index}", (X, Y), groups, pixels, 0)
        assert place.base >= 0 and place.end <= held.depth(place.buffer)
        for other in alive.values():
            assert place.buffer is not other.buffer or place.end <= other.base or other.end <= place.base
        alive[f"t{index}"] = place


@pytest.mark.parametrize(
    ("pixels", "groups", "depth", "expected"),
    [
        # One pixel: all blocks are channel slots. The stream takes 2 * (4 * (4 + 4) + 2) beats, and the rings hold the weights.
        (1, 8, 4, Mapping(split=0, joint=True, tiles=1, cycles=68, ahead=36, streams=True)),
        # One input word and one channel group: a joint tile would give its results in two cycles.
        (100, 1, 1, Mapping(split=2, joint=False, tiles=1, cycles=25, ahead=25, streams=False)),
        (100, 2, 4, Mapping(split=2, joint=True, tiles=1, cycles=100, ahead=100, streams=False)),
        # One engine alone needs fewer headers, but the rings hold all weights: both need half the cycles for what they have.
        (2, 4, 64, Mapping(split=1, joint=True, tiles=1, cycles=276, ahead=64, streams=True)),
        # The stream decides: with one pixel slot the rings, of 512 rows, hold twice as many of the weights.
        (4, 40, 200, Mapping(split=0, joint=True, tiles=5, cycles=8180, ahead=4084, streams=True)),
    ],
)
def test_the_best_split(pixels, groups, depth, expected):
    assert best_pw(TOY, pixels, groups, depth) == expected


def test_tiles_must_fit_the_parameter_ring():
    narrow = TOY.with_(name="narrow", param_rows=8)
    assert best_pw(TOY, 1000, 32, 1).split == 2
    assert best_pw(narrow, 1000, 32, 1) == pw_cycles(narrow, 1000, 32, 1, 0, True)
    # Nothing fits: the caller has to refuse the layer.
    assert best_pw(narrow, 1000, 32, 1, (2,)).tiles > narrow.mat_param_rows


@given(st.integers(1, 300), st.integers(1, TOY.mat_param_rows), st.integers(1, 40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_mapping_is_cheaper(pixels, groups, depth):
    best = best_pw(TOY, pixels, groups, depth)
    others = [pw_cycles(TOY, pixels, groups, depth, split, joint) for split in range(3) for joint in (False, True)]
    assert best in others and best.ahead == min(option.ahead for option in others)
    # Every product is done: slots, tiles and engines cover the groups, pixel groups the pixels.
    assert best.tiles * (TOY.l >> best.split) << best.joint >= groups
