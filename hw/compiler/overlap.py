"""What one engine begins while the other still works on the step before: a product's last pixels are MAT's alone.

Both functions take the tasks of a step apart, the first one where that ends sooner, the second one where their rows allow it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product as product_of

from hw.compiler.early import Proof
from hw.compiler.lower.product import PwProduct
from hw.compiler.tasks import ALL, Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import Opcode, Unit
from hw.timing import DISPATCH, OPEN, Timing

_BOTH = Unit.MAT | Unit.RMAC


@dataclass(frozen=True)
class _Option:
    """The first ``sums`` beside tile ``last`` of a product from pixel ``border`` on; no sums: one after the other.

    ``end`` is when both engines have done what the last source of attention needs, counted from where both together would have
    ended the product.
    """

    end: int
    sums: int
    last: int
    border: int = 0


def sums_beside_product(product: PwProduct, tasks: Sequence[Task], attention: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """The first heads' sums beside one tile of the product that makes queries, keys and values; that tile comes last.

    Where the first batches of heads read nothing of a tile, R-MAC takes part in it up to some pixel and then begins with the
    sums, while MAT does the other pixels alone. What R-MAC does then waits for both, itself or behind a task of MAT's that has
    waited. Where queries come first, the first tile is one that no sums need.

    Parameters
    ----------
    product : PwProduct
        What makes the first source of attention.
    tasks : sequence of Task
        Its tasks.
    attention : sequence of Task
        Those of the attention behind it.

    Returns
    -------
    tuple of two lists of Task
        The tasks of both.
    """
    best, order = _Option(_rest_of(attention, 0, 0, _summed(attention, product.config), product.config), 0, 0), list(attention)
    if len(tasks) != 1 or not tasks[0].joint or tasks[0].get("tiles") < 2:
        return list(tasks), order
    tiles = tasks[0].get("tiles")
    proof = Proof(product.config)
    for last, count in product_of(range(tiles), (1, 2)):
        best = min([best, *_beside_tile(product, last, attention, count, proof)], key=lambda option: option.end)
    if not best.sums:
        return list(tasks), order
    return _cut(product, tiles, best), _behind(order, best.sums)


def _summed(attention: Sequence[Task], config: AcceleratorConfig) -> int:
    """Cycles from the beginning of the first sums to that of their divisors."""
    timing = Timing.of(config)
    first = next(task for task in attention if task.opcode is Opcode.KTV)
    return first.beats(config) + timing.ktv_ended


def _rest_of(attention: Sequence[Task], begun: int, rmac: int, mat: int, config: AcceleratorConfig) -> int:
    """When both engines have done what comes before the last source's heads.

    ``begun`` sums are done already; R-MAC goes on at ``rmac``, MAT at ``mat``.
    """
    timing = Timing.of(config)
    own = max((index for index, task in enumerate(attention) if task.opcode is Opcode.PW), default=len(attention)) + 1
    for task in attention[:own]:
        if task.opcode is Opcode.KTV and begun:
            begun -= 1
        elif task.unit is Unit.RMAC:
            rmac += task.beats(config) + timing.early_step + (timing.ktv_result if task.opcode is Opcode.KTV else 0)
        elif task.unit is Unit.MAT:
            mat += task.beats(config) + timing.early_step
    return max(rmac, mat)


def _next_of_rmac(attention: Sequence[Task], count: int) -> int | None:
    """Where R-MAC's task behind the first ``count`` sums is; None where there is none, or where other sums come sooner."""
    rmac = [index for index, task in enumerate(attention) if task.unit is Unit.RMAC]
    found = [attention[index].opcode for index in rmac[: count + 1]]
    return rmac[count] if len(found) > count and found[:count] == [Opcode.KTV] * count else None


def _beside_tile(product: PwProduct, last: int, attention: Sequence[Task], count: int, proof: Proof) -> list[_Option]:
    """The first ``count`` sums beside the other pixels of tile ``last``, for every pixel where that can be of use."""
    config, timing = product.config, Timing.of(product.config)
    behind = _next_of_rmac(attention, count)
    beside = [task for task in attention if task.opcode is Opcode.KTV][:count]
    slots, lanes = config.l >> product.split, 1 << product.split
    if behind is None or any(_reads(task, last * 2 * slots, 2 * slots) for task in beside):
        return []
    work = sum(task.beats(config) + timing.ktv_result + OPEN for task in beside)
    summed, groups = _summed(attention, config), -(-product.pixels // lanes)
    borders = range(max(1, groups - work // product.depth), groups)
    if not borders:
        return []
    rest = _part(product, last, borders[0] * lanes, product.pixels, joint=False)
    divisors = next(task for task in attention if task.unit is Unit.MAT)
    late = [0 if proof.harmless(rest, task) else timing.mat_written for task in (attention[behind], divisors)]
    options = []
    for border in borders:
        shared = (groups - border) * product.depth
        rmac, mat = max(work - shared, shared + late[0]), max(summed - shared, shared + late[1])
        options.append(_Option(_rest_of(attention, count, rmac, mat, config), count, last, border * lanes))
    return options


def _part(product: PwProduct, tile: int, start: int, end: int, *, joint: bool) -> Task:
    """Some pixels of a joint task's tile, by MAT alone in two."""
    slots = product.config.l >> product.split
    first_group = tile * 2 * slots
    macs = (end - start) * (product.macs_before(first_group + 2 * slots) - product.macs_before(first_group))
    wait, tiles = (ALL, 1) if joint else (Unit.MAT, 2)
    return product.task(start, end, joint=joint, pixel_outer=False, first_group=first_group, tiles=tiles, wait=wait, macs=macs)


def _cut(product: PwProduct, tiles: int, option: _Option) -> list[Task]:
    """The product: all other tiles, then both parts of the one that comes last."""
    pixels, slots = product.pixels, product.config.l >> product.split
    parts = []
    for run in (range(option.last), range(option.last + 1, tiles)):
        if run:
            first, end = run.start * 2 * slots, run.stop * 2 * slots
            macs = pixels * (product.macs_before(end) - product.macs_before(first))
            task = product.task(0, pixels, joint=True, pixel_outer=False, first_group=first, tiles=len(run), macs=macs)
            parts.append(task)
    return [
        *parts,
        _part(product, option.last, 0, option.border, joint=True),
        _part(product, option.last, option.border, pixels, joint=False),
    ]


def _behind(attention: list[Task], count: int) -> list[Task]:
    """Attention whose first ``count`` sums wait for R-MAC alone, and what R-MAC does then for both engines."""
    behind, first = _next_of_rmac(attention, count), _next_of_rmac(attention, 0)
    assert behind is not None and first is not None
    attention[first] = replace(attention[first], wait=Unit.RMAC)
    before = attention[behind - 1]
    if attention[behind].opcode is Opcode.DW and before.opcode is Opcode.QZ:
        # The divisors before these quotients begin behind the product; its results are written while they are issued.
        attention[behind - 1 : behind + 1] = attention[behind], before
    else:
        attention[behind] = replace(attention[behind], wait=attention[behind].wait | _BOTH)
    return attention


def _reads(sums: Task, border: int, groups: int) -> bool:
    """Whether a batch's keys and values are any of ``groups`` channel groups from ``border`` on."""
    first, end = sums.get("src_cg"), sums.get("v_cg") + (sums.get("heads") - 1) * sums.get("src_step") + sums.get("tiles")
    return first < border + groups and border < end


def stem_beside_pool(stem: PwProduct, body: Sequence[Task]) -> list[Task]:
    """The next picture's stem beside the pooling of the one before, which leaves MAT nothing to do.

    MAT alone does the first pixels (of the first band), as long as POOL takes, if the rows that the stem writes are not those
    that POOL reads.

    Parameters
    ----------
    stem : PwProduct
        The product that follows LOAD.
    body : sequence of Task
        A picture's tasks, LOAD to POOL.

    Returns
    -------
    list of Task
        The same with the stem in two tasks, or in one of MAT's where POOL takes as long, or unchanged.
    """
    at = next((index for index, task in enumerate(body) if task.get("behind_load")), None)
    pool = body[-1]
    if at is None or pool.opcode is not Opcode.POOL or not body[at].joint:
        return list(body)
    read = range(pool.get("src_base"), pool.get("src_base") + -(-pool.get("tiles") // stem.config.wide) * pool.get("src_rows"))
    written = stem.destination.first
    if written.buffer is pool.fields["src"] and written.base < read.stop and read.start < written.end:
        return list(body)
    cycles = stem.tiles(False) * stem.depth
    end = body[at].get("px_end")
    # POOL is dispatched first, and R-MAC is open when its last result has been pushed.
    alone = pool.beats(stem.config) + Timing.of(stem.config).pool_result - DISPATCH
    turn = min(end, alone // cycles << stem.split)
    if not turn or not stem.resident(False):
        return list(body)
    behind = {"pixel_outer": True, "gated": True, "behind_load": True}
    parts = [stem.task(0, turn, joint=False, wait=Unit.MAT, macs=turn * stem.matrix_macs(), **behind)]
    if turn < end:
        parts.append(stem.task(turn, end, joint=True, wait=_BOTH, macs=(end - turn) * stem.matrix_macs(), **behind))
    return [*body[:at], *parts, *body[at + 1 :]]
