"""How many heads each batch of an attention has: the cycles that heads take, and the cut with which MAT ends first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from hw.config import AcceleratorConfig
from hw.timing import IDLE, OPEN, START, Timing


@dataclass(frozen=True)
class Cut:
    """``count`` heads of a source from ``first`` on are a batch; ``beside`` the depthwise layer of an aggregation or after it."""

    source: int
    first: int
    count: int
    beside: bool = False


@dataclass(frozen=True)
class HeadCost:
    """Cycles of one head: ``sums`` on R-MAC, ``quotients`` (with its divisors) on MAT; how many results are ``divisors``."""

    sums: int
    quotients: int
    divisors: int

    @classmethod
    def of(cls, pixels: int, groups: int, split: int, config: AcceleratorConfig) -> "HeadCost":
        """The beats of a head of ``groups`` channel groups whose quotients have ``2^split`` pixels a beat."""
        rows = -(-pixels // config.l)
        return cls(groups * (groups * rows + 1), groups * (rows + -(-pixels // (1 << split))), rows)

    def end(self, sizes: Sequence[int], timing: Timing, *, rmac: int = 0, mat: int | None = None, left: int = 0) -> int:
        """When MAT has issued the quotients of batches of these sizes.

        A batch's sums wait for those before them to leave R-MAC, and for the quotients before these, which have Z's other half;
        its divisors wait until its sums can be read, and its quotients until the codes are there where the divisors are few
        (:mod:`hw.compiler.early`).

        Parameters
        ----------
        sizes : sequence of int
            Heads of each batch, which read what MAT wrote last.
        timing : Timing
            Of the configuration.
        rmac, mat : int
            When the engines have issued their last beats of what comes before; without ``mat`` its results have been written.
        left : int
            Heads of a batch before these that read nothing of it.
        """
        written = timing.mat_written + IDLE
        readable = 0 if mat is None else mat + written
        summed, divided = rmac, mat or 0
        issued: list[int] = []
        for index, size in enumerate((left, *sizes) if left else sizes):
            begun = max([summed, 0 if left and not index else readable, *issued[index - 2 : index - 1]])
            summed = begun + START + size * self.sums
            divided = max(divided, summed + timing.ktv_ended) + START + size * self.quotients
            if size * self.divisors < timing.written:
                divided += written
            summed += timing.ktv_result
            issued.append(divided)
        return divided


@dataclass(frozen=True)
class Beside:
    """What an aggregation has the engines do beside heads of the first source: a depthwise layer on R-MAC, products on MAT."""

    depthwise: int
    products: int

    def ends(self, heads: int, cost: HeadCost, timing: Timing) -> tuple[int, int]:
        """When each engine has issued its last beat, with so many heads beside it.

        The sums begin while MAT does the last pixels of the product before alone (:mod:`hw.compiler.overlap`): half of their
        time is each engine's. MAT follows the depthwise layer to its end.
        """
        written = timing.mat_written
        sums = heads * cost.sums + 2 * (timing.ktv_result + OPEN)
        rmac = (sums + written) // 2 + self.depthwise
        return rmac, max(rmac + written, (sums - written) // 2 + heads * cost.quotients + self.products)


#: Batches of the last source's heads at most: each further one costs its fill, and gains less.
_MOST_BATCHES = 4


def _compositions(count: int, most: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write ``count`` as a sum of up to ``parts`` numbers from 1 to ``most``, in every order."""
    if 0 < count <= most:
        yield (count,)
    if parts > 1:
        for first in range(1, min(most, count - 1) + 1):
            yield from ((first, *rest) for rest in _compositions(count - first, most, parts - 1))


def _even(count: int, most: int, cost: HeadCost, timing: Timing) -> tuple[int, ...]:
    """Half of the heads each where MAT would wait longer for all than two more tasks take, or as many as a batch can have."""
    half = -(-count // 2)
    size = min(most, half if half * cost.sums > 2 * timing.step else count)
    return tuple(min(size, count - first) for first in range(0, count, size))


def _soonest(count: int, most: int, cost: HeadCost, timing: Timing) -> tuple[int, ...]:
    """Batches of the last source, which MAT has nothing but: such that it ends first."""
    if -(-count // most) > _MOST_BATCHES:
        return _even(count, most, cost, timing)
    return min(_compositions(count, most, _MOST_BATCHES), key=lambda sizes: (cost.end(sizes, timing), len(sizes)))


@lru_cache(maxsize=64)
def _left(own: int, last: int, most: int, cost: HeadCost, timing: Timing, beside: Beside) -> tuple[int, tuple[int, ...]]:
    """Heads of the first source that come after the aggregation, and the batches of the last one behind them.

    R-MAC then ends the depthwise layer sooner, and MAT divides them while R-MAC has the last source's first sums to do.
    """
    options = []
    for left in range(min(own - 1, most) + 1):
        rmac, mat = beside.ends(own - left, cost, timing)
        for sizes in _compositions(last, most, _MOST_BATCHES):
            end = cost.end(sizes, timing, rmac=rmac, mat=mat, left=left)
            options.append((end + bool(left) * timing.step, left, len(sizes), sizes))
    _, left, _, sizes = min(options)
    return left, sizes


def cut(heads: Sequence[int], most: int, cost: HeadCost, timing: Timing, beside: Beside | None) -> list[Cut]:
    """The batches in turn.

    Parameters
    ----------
    heads : sequence of int
        How many each source has.
    most : int
        Heads of a batch at most.
    cost, timing : HeadCost, Timing
        What a head takes.
    beside : Beside, optional
        The aggregation that makes the second of two sources, where it runs beside the first one's heads.
    """
    if beside is None:
        parts = [_even(count, most, cost, timing) for count in heads[:-1]] + [_soonest(heads[-1], most, cost, timing)]
        return [Cut(source, sum(sizes[:i]), size) for source, sizes in enumerate(parts) for i, size in enumerate(sizes)]
    own, last = heads
    if -(-last // most) > _MOST_BATCHES:
        left, sizes = 0, _even(last, most, cost, timing)
    else:
        left, sizes = _left(own, last, most, cost, timing, beside)
    early = _even(own - left, most, cost, timing)
    found = [Cut(0, sum(early[:i]), size, beside=True) for i, size in enumerate(early)]
    found += [Cut(0, own - left, left)] * bool(left)
    return [*found, *(Cut(1, sum(sizes[:i]), size) for i, size in enumerate(sizes))]
