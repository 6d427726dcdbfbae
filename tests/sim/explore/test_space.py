"""The grid of a sweep."""

from dataclasses import fields
from math import prod

from sim.explore.sizes import machine_name
from sim.explore.space import Machine, Slots, Space


def test_the_axes_are_the_sizes_of_a_machine_and_its_slots():
    assert [axis.name for axis in fields(Space)] == [*(size.name for size in fields(Machine)), "first_dsp", "second_dsp"]


def test_every_combination_once():
    space = Space(m=(4, 8), l=(8,), weight_rows=(256, 512, 1024), first_dsp=(0, 50), second_dsp=(0, 100))
    machines = list(space.machines())
    assert len(set(machines)) == len(machines) == 2 * 3 * len(space.z_rows) * len(space.divisor_rows)
    assert space.slots() == (Slots(0, 0), Slots(0, 100), Slots(50, 0), Slots(50, 100))


def test_the_grid_is_in_the_order_of_the_axes():
    machines = list(Space().machines())
    assert machines == sorted(machines, key=lambda machine: tuple(vars(machine).values()))


def test_names_differ():
    machines = list(Space().machines())
    assert len({machine_name(machine) for machine in machines}) == len(machines) == prod(
        len(getattr(Space(), size.name)) for size in fields(Machine)
    )
