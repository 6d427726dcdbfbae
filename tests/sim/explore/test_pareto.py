"""The points that no other beats."""

from hypothesis import given
from hypothesis import strategies as st

from sim.explore.pareto import dominates, front

#: Small numbers, so that equal ones are frequent.
COSTS = st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=40)


def test_what_dominates():
    assert dominates((1, 2, 3), (1, 2, 4))
    assert not dominates((1, 2, 3), (1, 2, 3))
    assert not dominates((0, 9, 0), (1, 2, 3))


@given(COSTS)
def test_nothing_beats_what_is_kept(costs):
    kept = front(costs, lambda item: item)
    assert bool(kept) == bool(costs)
    assert not [(one, other) for one in kept for other in costs if dominates(other, one)]


@given(COSTS)
def test_what_is_left_out_is_beaten_or_there_already(costs):
    kept = front(costs, lambda item: item)
    assert len(set(kept)) == len(kept)
    for one in costs:
        assert one in kept or any(dominates(other, one) for other in kept)


@given(COSTS, st.randoms())
def test_the_order_does_not_matter(costs, random):
    shuffled = random.sample(costs, len(costs))
    assert sorted(front(shuffled, lambda item: item)) == sorted(front(costs, lambda item: item))


@given(COSTS)
def test_what_is_kept_keeps_its_order(costs):
    places = [costs.index(item) for item in front(costs, lambda item: item)]
    assert places == sorted(places)


def test_of_equals_the_tie_decides_then_the_first():
    items = [("a", 1, 9), ("b", 1, 5), ("c", 1, 5), ("d", 0, 9)]
    assert front(items[:3], lambda item: (item[1],), lambda item: item[2]) == [("b", 1, 5)]
    assert front(items, lambda item: (item[1],), lambda item: item[2]) == [("d", 0, 9)]
