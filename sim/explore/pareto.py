"""The points that no other beats."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Costs = Sequence[float]


def dominates(one: Costs, other: Costs) -> bool:
    """Whether ``one`` is nowhere larger than ``other`` and somewhere smaller."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


def front(items: Sequence[T], costs: Callable[[T], Costs], tie: Callable[[T], float] = lambda _: 0) -> list[T]:
    """The items that none dominates, in their order; of those with equal costs that with the smallest ``tie``, then the first."""
    best: dict[tuple[float, ...], T] = {}
    for item in items:
        key = tuple(costs(item))
        if key not in best or tie(item) < tie(best[key]):
            best[key] = item
    kept = {id(item) for key, item in best.items() if not any(dominates(other, key) for other in best)}
    return [item for item in items if id(item) in kept]
