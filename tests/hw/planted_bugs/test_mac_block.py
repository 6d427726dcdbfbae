"""The multipliers of both engines, tampered with: packed lanes, their signs, and what is summed."""

import pytest
from amaranth import Const

from hw.engines.mac_block import FIELD_BITS, PRODUCT_BITS, MacBlock
from tests.hw.planted_bugs.networks import block, product, stride, vector
from tests.hw.planted_bugs.planting import Bug, failure_with
from tests.support.tamper import constant, tampered

BUGS: dict[str, Bug] = {
    "sums not begun anew": ("hw.engines.mat.MacBlock", tampered(MacBlock, first=constant(0)), product, 0),
    "lower lane's sign not borrowed": ("hw.engines.mac_block.borrow", lambda packed: Const(0), vector, 0),
    "lower tap's sign not borrowed": ("hw.engines.mac_block.borrow", lambda packed: Const(0), stride, 0),
    "taps summed as inputs": ("hw.engines.rmac.MacBlock", tampered(MacBlock, own_beat=constant(0)), block, 0),
    "inputs summed as taps": ("hw.engines.rmac.MacBlock", tampered(MacBlock, own_beat=constant(1)), product, 0),
    "lower lane without a sign": ("hw.engines.mac_block.lower_field", lambda packed: packed[:FIELD_BITS], product, 0),
    "lanes packed too closely": ("hw.engines.mac_block.FIELD_BITS", PRODUCT_BITS - 2, product, 0),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    assert failure_with(monkeypatch, BUGS[bug]) is not None
