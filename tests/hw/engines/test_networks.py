"""Small networks through both engines and post-processing, bit for bit: every geometry that has a way of its own."""

from typing import Any

import numpy as np
import pytest
from amaranth.utils import exact_log2

from hw.compiler.program import Program
from hw.config import TOY
from hw.control.descriptor import Act, Buffer, Opcode, Unit
from tests.support.configs import FOUR_BY_EIGHT, FOUR_BY_SIXTEEN
from tests.support.core_check import check
from tests.support.networks import NetworkBuilder

#: Rings and buffers of heads as small as they can be: attention falls apart into batches.
BATCHES = TOY.with_(name="batches", z_rows=8, divisor_rows=8)
EIGHT = TOY.with_(name="eight", n=8, m=8, t=8, s=8, l=8, max_dim=16)


#: Four groups of K and V a head: what B2 and B3 need.
WIDE_HEADS = TOY.with_(name="wide-heads", n=8, m=8, t=8, s=8, l=8, max_dim=32)


def tasks(program: Program, opcode: Opcode, **fields: Any) -> list:
    """The program's tasks of that kind and with these fields."""
    return [
        task for task in program.tasks if task.opcode is opcode and all(task.get(name) == value for name, value in fields.items())
    ]


def with_attention(
    net: NetworkBuilder, channels: int, dim: int, kernel: int = 5, z_bits: int | None = None
) -> NetworkBuilder:
    """A lite multi-scale attention block of two scales behind the stem."""
    trunk = net.pw("in", net.stem(8), channels)
    qkv = net.pw("qkv", trunk, 3 * channels)
    aggregated = net.pw("agg.gpw", net.dw("agg.dw", qkv, kernel=kernel, act="none"), 3 * channels, groups=3 * channels // dim)
    net.pw("proj", net.attention("att", (qkv, aggregated), dim, z_bits=z_bits), channels, residual=trunk)
    return net


def test_stem_and_pw():
    net = NetworkBuilder(1, 8, 12)
    net.pw("pw", net.stem(5), 11)
    check(net, TOY)


def test_mbconv_with_residual():
    net = NetworkBuilder(2, 10, 12)
    stem = net.stem(8)
    hidden = net.pw("pw1", stem, 21, "hardswish")
    net.pw("pw2", net.dw("dw", hidden), 8, residual=stem)
    program, _ = check(net, TOY)
    # The inter-layer pipeline: MAT follows the depthwise convolution, then both do the rest.
    assert tasks(program, Opcode.PW, gated=1, pixel_outer=1) and tasks(program, Opcode.PW, joint=1, px_end=30)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_mat_follows_with_as_many_tiles_as_the_ring_holds(stall):
    net = NetworkBuilder(26, 10, 12)
    net.pw("pw2", net.dw("dw", net.pw("pw1", net.stem(8), 24, "hardswish")), 22)
    program, _ = check(net, TOY.with_(name="short-ring", weight_rows=32), stall=stall, seed=6)
    followed, rest, others = (task for task in program.tasks if task.layer == "pw2" and task.opcode is Opcode.PW)
    # Six words deep, six tiles of MAT's: four of them lie in the ring while the next one's weights come.
    assert [task.get("tiles") for task in (followed, rest, others)] == [4, 2, 1]
    assert [task.get("gated") for task in (followed, rest, others)] == [1, 0, 0]
    assert [(task.get("px_start"), task.get("px_end")) for task in (followed, rest, others)] == [(0, 24), (24, 30), (0, 30)]
    assert [task.get("dst_cg") for task in (followed, rest, others)] == [0, 0, 4]
    assert followed.macs + rest.macs + others.macs == 30 * 24 * 22


def test_both_engines_wait_for_their_weights_behind_mat_alone():
    """MAT's ring has some rows of the joint tile beside those that it has yet to release; R-MAC's has none."""
    net = NetworkBuilder(3, 10, 12)
    net.pw("pw2", net.dw("dw", net.pw("pw1", net.stem(8), 48, "hardswish")), 16)
    program, _ = check(net, TOY.with_(name="short-ring", weight_rows=32))
    followed, rest = (task for task in program.tasks if task.layer == "pw2" and task.opcode is Opcode.PW)
    assert (followed.joint, rest.joint, rest.get("early") & Unit.MAT) == (0, 1, Unit.MAT)
    assert followed.get("tiles") * followed.get("depth") < 32 < (followed.get("tiles") + 1) * followed.get("depth")


def test_stride_two_and_odd_sizes():
    net = NetworkBuilder(3, 14, 10)
    hidden = net.pw("pw1", net.stem(6), 13, "hardswish")
    out = net.pw("pw2", net.dw("dw", hidden, stride=2), 9)
    hidden = net.pw("pw3", out, 18, "hardswish")
    net.pw("pw4", net.dw("dw2", hidden, kernel=5), 9, residual=out)
    check(net, TOY)


def test_dsconv():
    net = NetworkBuilder(4, 8, 8)
    stem = net.stem(8)
    net.pw("pw", net.dw("dw", stem), 8, residual=stem)
    check(net, TOY)


@pytest.mark.parametrize(("d_rows", "places"), [(150, ("D", "X")), (90, ("X", "X"))])
def test_results_that_d_has_no_room_for_lie_in_the_trunk(d_rows, places):
    net = with_attention(NetworkBuilder(5, 8, 12), 16, 8, z_bits=15)
    program, _ = check(net, TOY.with_(name="little-d", d_rows=d_rows), stall=0.5, seed=2)
    assert tuple(program.places[name].buffer.name for name in ("agg.dw", "att")) == places
    # The residual of the product behind both comes from the other one.
    assert program.places["in"].buffer is Buffer.Y


@pytest.mark.parametrize(("left", "stall"), [(1, 0.0), (1, 0.6), (3, 0.0)])
def test_heads_that_come_behind_the_aggregation(monkeypatch, left, stall):
    monkeypatch.setattr("hw.compiler.head_cut._left", lambda own, last, *rest: (left, (1, last - 1)))
    net = with_attention(NetworkBuilder(27, 8, 12), 32, 8, kernel=3, z_bits=15)
    program, _ = check(net, TOY, stall=stall, seed=4)
    order = [task.opcode for task in program.tasks if task.layer in ("att", "agg.dw", "agg.gpw")]
    behind = order[len(order) - 1 - order[::-1].index(Opcode.PW) :]
    assert behind[1:6] == [Opcode.KTV, Opcode.DIV, Opcode.KTV, Opcode.QZ, Opcode.KTV]
    heads = [task.get("heads") for task in tasks(program, Opcode.KTV)]
    assert heads[-3:] == [left, 1, 3] and sum(heads) == 8


def test_attention():
    program, _ = check(with_attention(NetworkBuilder(5, 8, 12), 16, 8, z_bits=8), TOY)
    assert len(tasks(program, Opcode.KTV)) == 2


def test_attention_whose_sums_reach_both_ends_of_fifteen_bits():
    program, run = check(with_attention(NetworkBuilder(5, 8, 12), 16, 8, z_bits=15), TOY)
    assert len(tasks(program, Opcode.KTV, wide=1)) == len(tasks(program, Opcode.QZ, wide=1)) == 2
    sums = [record for record in run.writes if record["dst"] == Buffer.Z]
    z, ksum = (
        {value for record in sums if record["row_sum"] == kind for word in record["words"].values() for value in word}
        for kind in (0, 1)
    )
    assert min(z) == -(1 << 14) and max(z) == max(ksum) == (1 << 14) - 1 and min(ksum) < 1 << 13
    assert any(-(1 << 14) < value < -128 for value in z)


def test_head():
    net = NetworkBuilder(6, 8, 8)
    net.head(net.stem(8), 13, 21, 10)
    check(net, TOY)


@pytest.mark.parametrize(("height", "width"), [(2, 4), (4, 4), (6, 4)])
def test_maps_smaller_than_the_lanes(height, width):
    net = NetworkBuilder(height * width, height, width)
    stem = net.stem(7)
    out = net.pw("pw2", net.dw("dw5", net.pw("pw1", stem, 9, "hardswish"), kernel=5), 7, residual=stem)
    net.pw("pw3", net.dw("dw3", out), 3)
    check(net, TOY)


def test_stride_two_down_to_one_pixel():
    net = NetworkBuilder(7, 6, 10)  # 3x5, 2x3, 1x2, 1x1
    last = net.stem(3)
    for index, kernel in enumerate((5, 3, 5)):
        last = net.pw(f"pw{index}", net.dw(f"dw{index}", last, kernel=kernel, stride=2), 5 + index)
    check(net, TOY)


def test_a_depthwise_convolution_that_no_product_follows():
    net = NetworkBuilder(8, 6, 14)
    first = net.dw("dw1", net.stem(18), act="none")
    net.pw("pw", net.dw("dw2", first, kernel=5, stride=2), 4)
    net.pw("side", first, 6)
    check(net, TOY)


def test_wide_layers_on_few_pixels():
    net = NetworkBuilder(9, 4, 4)
    trunk = net.pw("in", net.stem(6), 37)
    hidden = net.pw("pw1", trunk, 83, "hardswish")
    net.pw("pw2", net.dw("dw", hidden), 37, residual=trunk)
    check(net, TOY)


def test_a_residual_that_spreads_over_channel_groups():
    net = NetworkBuilder(10, 2, 4)
    trunk = net.pw("in", net.stem(4), 32)
    net.pw("pw2", net.dw("dw", net.pw("pw1", trunk, 16, "hardswish")), 32, residual=trunk)
    program, _ = check(net, TOY)
    residuals = tasks(program, Opcode.PW, act=Act.RESIDUAL.value)
    assert residuals and all(task.get("lp") < exact_log2(TOY.l) for task in residuals)


def test_a_group_convolution_of_its_own():
    net = NetworkBuilder(11, 6, 6)
    net.pw("gpw", net.pw("pw", net.stem(4), 24), 48, groups=3)
    program, _ = check(net, TOY)
    assert tasks(program, Opcode.PW, gated=0, src_step=2)


@pytest.mark.parametrize(("dim", "height", "width", "z_bits"), [(4, 4, 6, 8), (4, 4, 6, 15), (8, 2, 4, 8)])
def test_attention_of_small_heads_and_small_maps(dim, height, width, z_bits):
    check(with_attention(NetworkBuilder(dim, height, width), 8, dim, kernel=3, z_bits=z_bits), TOY)


@pytest.mark.parametrize(("channels", "dim", "count", "z_bits"), [(24, 4, 4, 15), (32, 8, 4, 8)])
def test_attention_in_several_batches(channels, dim, count, z_bits):
    # 6 pixels are two rows of codes: four heads at a time; of dimension 8 half as many fit the Z buffer.
    program, _ = check(with_attention(NetworkBuilder(12, 4, 6), channels, dim, kernel=3, z_bits=z_bits), BATCHES)
    assert len(tasks(program, Opcode.KTV)) == len(tasks(program, Opcode.DIV)) == len(tasks(program, Opcode.QZ)) == count
    assert {task.get("z_row") for task in tasks(program, Opcode.KTV)} == {0, 4}
    if dim == 4:
        assert [task.get("heads") for task in tasks(program, Opcode.KTV)] == [4, 2, 2, 4]


@pytest.mark.parametrize("part", [0, 1])
def test_divisors_that_are_zero(part):
    """All of Q or all of K negative: Z, Ksum and every divisor are 0."""
    dim = 4
    net = with_attention(NetworkBuilder(13, 4, 4), 8, dim, kernel=3)
    for name in ("qkv", "agg.gpw"):
        arrays = next(layer.arrays for layer in net.layers if layer.name == name)
        where = np.arange(len(arrays["mult"])) // dim % 3 == part
        arrays["mult"][where], arrays["zero"][where] = 0, -50
    _, run = check(net, TOY)
    codes = [word[0] for record in run.writes if record["dst"] == Buffer.DIV for word in record["words"].values()]
    assert codes and not any(codes)


@pytest.mark.parametrize("value", [0, 255])
def test_extreme_pictures_and_weights_saturate(value):
    net = NetworkBuilder(14, 4, 6)
    trunk = net.pw("in", net.stem(8), 8)
    net.pw("pw2", net.dw("dw", net.pw("pw1", trunk, 12), kernel=5), 8, residual=trunk)
    for layer in net.layers:
        layer.arrays["weight"][:] = 127
        layer.arrays["weight"][1::2] = -127
        layer.arrays["mult"][:], layer.arrays["shift"][:] = 65535, 18
        layer.arrays["zero"][:] = 0
        if "pad" in layer.arrays:
            layer.arrays["pad"][:] = value - 128
    net.layers[3].arrays["pad"][:] = np.resize([-128, 127, 127], 12)
    _, run = check(net, TOY, picture=np.full(net.input_shape, value, np.uint8))
    values = {value for record in run.writes for word in record["words"].values() for value in word}
    assert {-128, 127} <= values


@pytest.mark.parametrize(("width", "hidden", "classes"), [(41, 3, 1), (4, 1, 5), (5, 18, 70)])
def test_heads_whose_vectors_do_not_fill_words(width, hidden, classes):
    net = NetworkBuilder(15 + width, 4, 6)
    net.head(net.stem(3), width, hidden, classes)
    program, _ = check(net, TOY)
    assert tasks(program, Opcode.LN, count=hidden) and tasks(program, Opcode.POOL, tiles=-(-width // TOY.m))


def test_weights_that_come_slowly():
    net = NetworkBuilder(16, 4, 6)
    stem = net.stem(6)
    out = net.pw("pw2", net.dw("dw", net.pw("pw1", stem, 9, "hardswish")), 6, residual=stem)
    net.head(out, 9, 6, 3)
    _, fast = check(net, TOY)
    _, slow = check(net, TOY, stall=0.9, seed=1)
    assert fast.stalls == 0 and slow.stalls > 100 and slow.cycles > fast.cycles


def test_attention_with_weights_that_come_slowly():
    _, run = check(with_attention(NetworkBuilder(17, 4, 4), 8, 4, kernel=3), BATCHES, stall=0.8, seed=3)
    assert run.stalls > 100


def test_rings_that_hold_little_are_filled_again_and_again():
    small = TOY.with_(name="small-rings", weight_rows=16, param_rows=8, result_depth=4)
    net = NetworkBuilder(18, 4, 6)
    trunk = net.pw("in", net.stem(8), 17)
    net.pw("pw2", net.dw("dw", net.pw("pw1", trunk, 26, "hardswish")), 17, residual=trunk)
    check(net, small)


def test_a_joint_product_while_the_next_depthwise_layer_fills_the_parameters():
    """R-MAC's ring holds more rows than MAT's has."""
    net = NetworkBuilder(5, 12, 12)
    net.pw("pw2", net.dw("dw", net.pw("pw1", net.stem(8), 26)), 17)
    program, _ = check(net, TOY.with_(name="few-parameters", weight_rows=64, param_rows=8, result_depth=4))
    joint, depthwise = program.tasks[2:4]
    assert joint.joint and depthwise.opcode is Opcode.DW
    assert joint.get("tiles") + depthwise.packets[0].rows > program.config.rmac_param_rows > 8


@pytest.mark.parametrize(
    ("config", "z_bits"),
    [(FOUR_BY_EIGHT, 15), (FOUR_BY_SIXTEEN, 15), (EIGHT, 8), (EIGHT, 15)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_other_sizes_of_the_array(config, z_bits):
    net = with_attention(NetworkBuilder(19, 4, 6), 16, 8, kernel=3, z_bits=z_bits)
    check(net, config)


def test_depthwise_convolutions_of_the_wide_array():
    """Seven taps a row, the padding in lane seven; the last set is not full."""
    net = NetworkBuilder(21, 6, 8)
    net.dw("dw5", net.dw("dw3", net.stem(70), act="none"), kernel=5, stride=2)
    check(net, EIGHT)


@pytest.mark.full
def test_heads_that_fill_the_wide_array():
    net = NetworkBuilder(20, 4, 6)
    net.head(net.pw("pw2", net.dw("dw", net.stem(20), stride=2), 9), 70, 11, 10)
    check(net, EIGHT)


def test_attention_over_sources_of_different_heads():
    net = NetworkBuilder(41, 4, 6)
    trunk = net.stem(8)
    net.attention("att", (net.pw("more", trunk, 24), net.pw("fewer", trunk, 12)), 4)
    net.layers[-1].output_shape = (12, 2, 3)
    for name, values in net.layers[-1].arrays.items():
        net.layers[-1].arrays[name] = np.resize(values, 3)
    net.layers[-1].attrs["heads"] = 3
    net.shapes["att"] = (12, 2, 3)
    check(net, TOY)


def test_more_rows_of_z_than_of_weights():
    net = NetworkBuilder(42, 4, 4)
    net.attention("att", (net.pw("qkv", net.stem(8), 240),), 4)
    check(net, TOY.with_(name="narrow-ring", weight_rows=16))


def test_heads_of_dimension_32():
    net = NetworkBuilder(43, 8, 12)
    net.attention("att", (net.pw("qkv", net.stem(8), 192),), 32, z_bits=15)
    check(net, WIDE_HEADS)
