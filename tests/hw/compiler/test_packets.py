"""The weight stream's bytes against examples worked out by hand, four channels to a word."""

import numpy as np
import pytest

from hw.compiler.packets import PARAMS, WEIGHTS, ChannelParams, depthwise_packet, gamma_packet, matrix_packet, param_packet
from hw.config import TOY, ZCU102

LONG = TOY.with_(name="long", l=8)


def signed(row: np.ndarray) -> list[int]:
    return row.view(np.int8).tolist()


def test_header_and_payload():
    packet = matrix_packet(TOY, "rmac", 1, np.arange(64, dtype=np.int8).reshape(8, 8), 0)
    raw = packet.encode(TOY)
    # Magic 0x5754, kind 1 and lp 1 in one byte, a spare byte, two rows.
    assert raw[:16] == bytes([0x54, 0x57, 0x11, 0, 2, 0, *[0] * 10])
    assert raw[16:] == packet.payload.tobytes()
    assert len(raw) == packet.beats(TOY) * TOY.beat_bytes == 16 * (1 + 2 * 2)


def test_the_header_fills_one_beat_of_any_width():
    packet = matrix_packet(ZCU102, "mat", 4, np.zeros((8, 8), np.int8), 0)
    assert packet.encode(ZCU102)[:64] == bytes([0x54, 0x57, 0x40, 0, 1, *[0] * 59])


def test_kinds():
    assert WEIGHTS == {"mat": 0, "rmac": 1} and PARAMS == {"mat": 2, "rmac": 3}


def test_matrix_rows_are_input_words_and_slots_are_channel_groups():
    matrix = np.arange(64, dtype=np.int8).reshape(8, 8)  # 8 outputs of 8 inputs
    packet = matrix_packet(TOY, "mat", 1, matrix, 0)
    assert packet.payload.shape == (2, 2, 16)
    assert signed(packet.payload[0, 0]) == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27]
    assert signed(packet.payload[1, 0]) == [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31]
    assert signed(packet.payload[1, 1]) == [36, 37, 38, 39, 44, 45, 46, 47, 52, 53, 54, 55, 60, 61, 62, 63]


def test_matrix_tiles_beyond_the_outputs_are_zero():
    matrix = np.arange(-30, -10, dtype=np.int8).reshape(5, 4)
    packet = matrix_packet(TOY, "mat", 1, matrix, 1)
    assert signed(packet.payload[0, 0]) == [-14, -13, -12, -11, *[0] * 12]
    assert not packet.payload[0, 1].any()
    assert not matrix_packet(TOY, "mat", 1, matrix, 2).payload.any()


def test_a_channels_parameters_take_sixteen_bytes():
    params = ChannelParams.of(TOY, 2, bias=[-2, 7], mult=0x1234, shift=5, three=0x0203, zero=-3)
    packet = param_packet(TOY, "mat", 2, params, [0])
    record = [0x34, 0x12, 5, 0, 0x03, 0x02, 0xFD, 0xFF, 0, 0, 0, 0]
    assert packet.payload.shape == (1, 1, 64)
    assert packet.payload[0, 0].tolist() == [0xFE, 0xFF, 0xFF, 0xFF, *record, 7, 0, 0, 0, *record, *[0] * 32]


def test_parameter_rows_begin_at_their_groups():
    params = ChannelParams.of(TOY, 12, mult=np.arange(1, 13))
    packet = param_packet(TOY, "rmac", 1, params, [0, 2])
    firsts = [[int(packet.payload[row, slot, 4]) for slot in range(2)] for row in range(2)]
    assert firsts == [[1, 5], [9, 0]]


@pytest.mark.parametrize(("config", "beats"), [(TOY, 4), (ZCU102, 2)], ids=["toy", "zcu102"])
def test_parameter_beats(config, beats):
    packet = param_packet(config, "mat", 0, ChannelParams.of(config, 5, mult=1), [0])
    assert packet.beats(config) == 1 + config.l * beats


def test_depthwise_rows_hold_taps_and_padding_by_lane_and_groups_by_slot():
    weight = (10 * np.arange(5)[:, None] + np.arange(9)).astype(np.int8)  # channel c, tap t: 10 c + t
    packet = depthwise_packet(TOY, weight, np.array([-1, 127, -128, 5, -7], np.int32))
    assert (packet.kind, packet.split, packet.rows) == (WEIGHTS["rmac"], 0, 3)
    assert signed(packet.payload[0, 0]) == [0, 10, 20, 30, 1, 11, 21, 31, 2, 12, 22, 32, -1, 127, -128, 5]
    assert signed(packet.payload[1, 1]) == [43, 0, 0, 0, 44, 0, 0, 0, 45, 0, 0, 0, -7, 0, 0, 0]
    assert signed(packet.payload[2, 0]) == [6, 16, 26, 36, 7, 17, 27, 37, 8, 18, 28, 38, -1, 127, -128, 5]
    assert not packet.payload[:, 2:].any()


def test_a_depthwise_row_that_is_not_full_has_its_padding_in_the_last_lane():
    packet = depthwise_packet(TOY, np.arange(1, 26, dtype=np.int8)[None], np.array([99], np.int32))
    assert packet.rows == 9
    assert [signed(row[0])[::4] for row in packet.payload[[0, 1, 8]]] == [[1, 2, 3, 99], [4, 5, 6, 99], [25, 0, 0, 99]]


@pytest.mark.parametrize(("taps", "rows"), [(9, 2), (25, 4)])
def test_eight_lanes_hold_seven_taps(taps, rows):
    assert depthwise_packet(ZCU102, np.ones((64, taps), np.int8), np.zeros(64, np.int32)).rows == rows


def test_depthwise_sets_follow_each_other():
    weight, pad = np.zeros((17, 9), np.int8), np.zeros(17, np.int32)
    weight[16, 4], pad[16] = 99, -99
    packet = depthwise_packet(TOY, weight, pad)
    assert packet.rows == 6
    assert np.argwhere(packet.payload).tolist() == [[3, 0, 12], [4, 0, 4], [4, 0, 12], [5, 0, 12]]


def test_depthwise_slots_are_shared_by_the_blocks_of_a_group():
    # Eight blocks, four channel groups at a time: two blocks a slot.
    packet = depthwise_packet(LONG, np.ones((16, 25), np.int8), np.ones(16, np.int32))
    assert packet.split == 1 and packet.payload.shape == (9, 4, 16)


def test_gamma_in_two_lanes():
    gamma = np.zeros(17, np.int32)
    gamma[[0, 1, 5, 16]] = 300, -1, -1023, 2
    packet = gamma_packet(TOY, gamma)
    assert (packet.kind, packet.split, packet.payload.shape) == (WEIGHTS["mat"], 0, (2, 4, 16))
    assert packet.payload[0, 0].tolist() == [0x2C, 0xFF, 0, 0, 1, 0xFF, 0, 0, *[0] * 8]
    assert packet.payload[0, 1].tolist() == [0, 0x01, 0, 0, 0, 0xFC, 0, 0, *[0] * 8]
    assert packet.payload[1, 0].tolist() == [2, *[0] * 15]
    assert not packet.payload[0, 2:].any() and not packet.payload[1, 1:].any()
