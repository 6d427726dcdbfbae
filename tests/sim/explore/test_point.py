"""One point: cycles, resources, and what a board lacks for it."""

from dataclasses import replace

import pytest

from boards import board
from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.resources import estimate
from quant.blank import blank_artifact
from quant.networks.spec import spec
from sim.explore.point import Point, Setting, measured, objectives, timed
from triovit.errors import UserError

DIGITS = blank_artifact(spec("digits"))
SETTING = Setting(board("zcu102"), latency=20)


def point(config: AcceleratorConfig = TOY, setting: Setting = SETTING) -> Point:
    return measured(timed(DIGITS, config, setting.latency), config, setting)


def test_speed():
    found = point()
    assert (found.multipliers, found.macs) == (128, 634_688)
    assert found.fps == pytest.approx(200e6 / found.cycles)
    assert found.gops == pytest.approx(2 * 634_688 * found.fps / 1e9)
    assert found.utilization == pytest.approx(634_688 / 128 / found.cycles)
    assert point(setting=replace(SETTING, clock_mhz=100)).fps == pytest.approx(found.fps / 2)


def test_a_point_can_be_built_again():
    assert AcceleratorConfig(**point().configuration) == TOY


def test_resources_are_those_counted():
    found, cost = point(ZCU102), estimate(ZCU102)
    assert found.resources == {
        "dsp": cost.dsp,
        "bram36": cost.bram36,
        "lut": cost.lutram + cost.lutmul,
        "memory_lut": cost.lutram,
        "port_bytes": 64,
        "dram_bytes": 64,
    }
    assert found.shares["dsp"] == cost.dsp / 2520
    assert found.shares["lut"] == (cost.lutram + cost.lutmul) / 274_080
    assert (found.over, found.fits) == ((), True)
    assert objectives(found) == (cost.dsp, cost.bram36, -found.fps)


@pytest.mark.parametrize(
    ("lacking", "over"),
    [
        ({"dsps": 1101}, ("dsp",)),
        ({"bram36": 739}, ("bram36",)),
        ({"luts": 110_000}, ("lut",)),
        ({"memory_luts": 7_000, "dsps": 1}, ("dsp", "memory_lut")),
        ({"port_bytes": 32}, ("port_bytes",)),
        ({"dram_bytes": 12.7e9}, ("dram_bytes",)),
    ],
)
def test_what_a_board_lacks(lacking, over):
    found = point(ZCU102, replace(SETTING, board=replace(SETTING.board, **lacking)))
    assert (found.over, found.fits) == (over, False)


def test_a_fast_clock_needs_a_fast_memory():
    assert point(ZCU102, replace(SETTING, clock_mhz=300)).fits
    assert point(ZCU102, replace(SETTING, clock_mhz=301)).over == ("dram_bytes",)


def test_the_share_of_lookup_tables():
    assert point(ZCU102, replace(SETTING, lut_share=0.18)).fits
    assert point(ZCU102, replace(SETTING, lut_share=0.17)).over == ("lut",)


def test_a_prefetch_that_the_model_does_not_know():
    assert timed(DIGITS, TOY.with_(axi_burst=8), 48).cycles > 0
    text = (
        "configuration toy: axi_burst is 8, and a prefetch of 64 beats does not cover a memory latency of 60 cycles, "
        "which takes 72; choose longer bursts"
    )
    with pytest.raises(UserError, match=f"^{text}$"):
        timed(DIGITS, TOY.with_(axi_burst=8), 60)


def test_a_slower_memory_costs_cycles():
    assert timed(DIGITS, TOY, 60).cycles > timed(DIGITS, TOY, 20).cycles
