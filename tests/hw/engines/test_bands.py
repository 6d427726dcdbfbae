"""Networks in bands on the datapath: every value is the golden model's, and rings that are too small are noticed."""

from dataclasses import replace
from unittest.mock import patch

import pytest

from hw.compiler.bands import Rows
from hw.config import TOY
from hw.control.descriptor import Opcode
from tests.hw.compiler.test_bands import inverted_bottleneck
from tests.support.core_check import check, run_network
from tests.support.networks import NetworkBuilder


@pytest.mark.parametrize(
    ("rows", "banded"),
    [
        ({"x_rows": 64, "y_rows": 64}, {"stem.0": 2, "ds.dw": 2, "mb.pw1": 2, "mb.dw": 1}),
        ({"h_rows": 160}, {"stem.0": 1, "ds.dw": 1, "mb.pw1": 6, "mb.dw": 6}),
    ],
)
@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_bands_give_what_whole_maps_give(rows, banded, stall):
    program, run = check(inverted_bottleneck(), TOY.with_(name="low", **rows), stall=stall, seed=3)
    work = [(task.layer, task.get("px_start")) for task in program.tasks if task.opcode in (Opcode.PW, Opcode.DW)]
    assert {name: len({px for layer, px in work if layer == name}) for name in banded} == banded
    assert run.stalls > 100 if stall else True


def test_a_folded_ring_and_two_strides():
    net = NetworkBuilder(5, 40, 24)
    stem = net.stem(4)
    block = net.pw("a.pw", net.dw("a.dw", stem, 5, 1), 4, residual=stem)
    block = net.pw("b.pw2", net.dw("b.dw", net.pw("b.pw1", block, 12), 5, 2), 8)
    net.pw("c.pw2", net.dw("c.dw", net.pw("c.pw1", block, 24), 3, 2), 8)
    low = TOY.with_(name="low", x_rows=56, y_rows=56, h_rows=4 * 64)
    program, _ = check(net, low, stall=0.2)
    assert any(task.get("src_fold") and task.get("src_ring") for task in program.tasks)


def test_a_ring_that_is_too_small_is_noticed():
    kept = Rows.kept
    with patch.object(Rows, "kept", lambda self, lanes: replace(kept(self, lanes), ring=max(0, kept(self, lanes).ring - 1))):
        lines, _, _ = run_network(inverted_bottleneck(), TOY.with_(name="low", x_rows=64, y_rows=64))
    assert lines and lines[0].startswith("ds.dw: ")
