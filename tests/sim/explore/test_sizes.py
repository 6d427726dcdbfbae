"""Configurations as large as the network needs."""

from dataclasses import replace

import pytest

from hw.compiler.compile import compile_network
from hw.config import ZCU102, AcceleratorConfig
from quant.blank import blank_artifact
from quant.networks.spec import spec
from sim.explore.sizes import fitted, machine_name, roomy, with_slots
from sim.explore.space import Machine, Slots
from triovit.errors import UserError

MACHINE = Machine(m=4, l=8, weight_rows=512, param_rows=64, z_rows=64, divisor_rows=64, axi_burst=16, buffers=100)
DIGITS = blank_artifact(spec("digits"))


def tasks(config: AcceleratorConfig) -> list[tuple[object, ...]]:
    return [(task.opcode, task.fields, task.wait) for task in compile_network(DIGITS, config).tasks]


def test_the_program_is_that_of_buffers_without_end():
    assert tasks(fitted(MACHINE, DIGITS)) == tasks(roomy(MACHINE, DIGITS))


@pytest.mark.parametrize(("buffer", "step"), [("h_rows", 4), ("d_rows", 1), ("x_rows", 1), ("y_rows", 1), ("o_rows", 1)])
def test_no_row_is_too_many(buffer, step):
    config = fitted(MACHINE, DIGITS)
    smaller = config.with_(**{buffer: getattr(config, buffer) - step})
    try:
        assert tasks(smaller) != tasks(config)
    except UserError as error:
        assert f"does not fit buffer {buffer[0].upper()}" in str(error) or "does not fit buffer X or Y" in str(error)


def test_b1_is_whole_in_the_papers_buffers_but_for_h_and_d():
    """Where a depthwise layer, or its result, is larger than H or D it comes in bands; the trunk has room for all of it."""
    machine = Machine(m=8, l=16, weight_rows=512, param_rows=256, z_rows=128, divisor_rows=1024, axi_burst=16, buffers=100)
    config = fitted(machine, blank_artifact(spec("b1")))
    for name in ("x_rows", "y_rows", "o_rows"):
        assert getattr(config, name) <= getattr(ZCU102, name), name
    assert config.h_rows > ZCU102.h_rows and config.d_rows > ZCU102.d_rows
    compile_network(blank_artifact(spec("b1")), ZCU102)


def test_larger_buffers():
    least, larger = fitted(MACHINE, DIGITS), fitted(replace(MACHINE, buffers=150), DIGITS)
    assert larger.d_rows == -(-least.d_rows * 3 // 2)
    assert larger.h_rows % larger.wide == 0
    assert tasks(larger) == tasks(least)


def test_memories_follow_the_network():
    config = fitted(MACHINE, DIGITS)
    assert (config.max_dim, config.max_picture_width) == (8, 64)
    wide = roomy(MACHINE, blank_artifact(spec("b2").at((64, 288))))
    assert (wide.max_dim, wide.max_picture_width) == (32, 512)


@pytest.mark.parametrize(("percent", "slots"), [(0, 0), (25, 2), (50, 4), (99, 7), (100, 8)])
def test_slots_are_percents_of_the_blocks(percent, slots):
    config = with_slots(fitted(MACHINE, DIGITS), Slots(percent, 100 - percent))
    assert (config.first_dsp_slots, config.second_dsp_slots) == (slots, 8 * (100 - percent) // 100)
    assert config.name == f"{machine_name(MACHINE)}-f{slots}-s{config.second_dsp_slots}"


def test_sizes_that_the_architecture_does_not_have():
    with pytest.raises(UserError, match=r"^configuration m4-l6-w512-.*: l is 6, and must be a power of two$"):
        fitted(replace(MACHINE, l=6), DIGITS)
