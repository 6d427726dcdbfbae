"""Which accelerators there are, and which there cannot be."""

import pytest

from hw.config import CONFIGURATIONS, TOY, ZCU102, configuration
from triovit.errors import UserError


def test_sizes_of_the_board():
    assert ZCU102.multipliers == 2048 and ZCU102.beat_bytes == 64 and ZCU102.param_beats == 2 and ZCU102.descriptor_beats == 1
    assert ZCU102.max_groups == 4 and ZCU102.wide == 8


def test_sizes_of_the_toy():
    assert TOY.multipliers == 128 and TOY.beat_bytes == 16 and TOY.param_beats == 4 and TOY.descriptor_beats == 4
    assert TOY.max_groups == 2 and TOY.wide == 4


def test_configurations_by_name():
    assert {name: configuration(name) for name in CONFIGURATIONS} == {"toy": TOY, "zcu102": ZCU102}
    with pytest.raises(UserError) as error:
        configuration("zcu104")
    assert str(error.value) == "configuration 'zcu104' is unknown; choose one of toy, zcu102"


def test_a_copy_is_checked_and_leaves_the_original():
    assert TOY.with_(name="other", l=8).l == 8 and TOY.l == 4
    assert TOY.with_(name="other").to_dict() == TOY.to_dict() | {"name": "other"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_rows": 500}, "weight_rows is 500, and must be a power of two"),
        ({"z_rows": 0}, "z_rows is 0, and must be a power of two"),
        ({"axi_burst": -4}, "axi_burst is -4, and must be a power of two"),
        ({"m": 8}, "m is 8 and s is 4, and must be equal: both engines eat the same words"),
        ({"n": 8}, "n, t and m must be equal (a block's lanes fill one word); got 8, 4, 4"),
        ({"t": 2}, "n, t and m must be equal (a block's lanes fill one word); got 4, 2, 4"),
        ({"l": 2}, "l is 2, and must be a multiple of m = 4"),
        ({"first_dsp_slots": 5}, "first_dsp_slots is 5, and may be 0 to l = 4"),
        ({"second_dsp_slots": -1}, "second_dsp_slots is -1, and may be 0 to l = 4"),
        ({"n": 16, "m": 16, "t": 16, "s": 16, "l": 16}, "m is 16; supported are 4 and 8"),
        ({"n": 2, "m": 2, "t": 2, "s": 2}, "m is 2; supported are 4 and 8"),
    ],
)
def test_what_cannot_be_is_named(changes, message):
    with pytest.raises(UserError) as error:
        TOY.with_(name="odd", **changes)
    assert str(error.value) == f"configuration odd: {message}"
