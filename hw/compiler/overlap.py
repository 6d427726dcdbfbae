"""What one engine begins while the other still works on the step before: a product's last pixels are MAT's alone.

Both functions take the tasks of a step apart where that ends sooner, and leave them as they are where it does not.
"""

from collections.abc import Sequence
from dataclasses import replace

from hw.compiler.early import Proof
from hw.compiler.lower import PwProduct
from hw.compiler.tasks import ALL, Task
from hw.control.descriptor import Opcode, Unit
from hw.timing import OPEN, START, Timing

_BOTH = Unit.MAT | Unit.RMAC


def sums_beside_product(product: PwProduct, tasks: Sequence[Task], attention: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """The first heads' sums beside the last tile of the product that makes queries, keys and values.

    Where the first batch of heads reads nothing of that tile, R-MAC takes part in the tile up to some pixel and then begins
    with the sums, while MAT does the other pixels alone: as long as the sums take. The second batch waits for both.

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
    same = list(tasks), list(attention)
    sums = [index for index, task in enumerate(attention) if task.opcode is Opcode.KTV]
    if len(tasks) != 1 or not tasks[0].joint or len(sums) < 2:
        return same
    tiles, pixels = tasks[0].get("tiles"), product.pixels
    config = product.config
    slots, lanes, timing, proof = config.l >> product.split, 1 << product.split, Timing.of(config), Proof(config)
    border = (tiles - 1) * 2 * slots
    first, second = (attention[index] for index in sums[:2])
    reads = first.get("v_cg") + (first.get("heads") - 1) * first.get("src_step") + first.get("tiles")
    if tiles < 2 or reads > border:
        return same
    work = first.beats(config) + timing.ktv_result + OPEN
    before = product.macs_before(border)
    of_tile = product.matrix_macs() - before

    def tile(start: int, end: int, *, joint: bool) -> Task:
        """Some pixels of the last tile, by MAT alone in two."""
        wait, macs = ALL if joint else Unit.MAT, (end - start) * of_tile
        count = 1 if joint else 2
        return product.task(start, end, joint=joint, pixel_outer=False, first_group=border, tiles=count, wait=wait, macs=macs)

    def late(rest: Task) -> int:
        """Cycles until the second batch begins, counted from where both engines together would have ended."""
        shared = rest.beats(config) // 2
        drained = 0 if proof.harmless(rest, second) else timing.mat_result + timing.written
        return max(work - shared, shared + drained)

    groups = -(-pixels // lanes)
    rests = [tile(group * lanes, pixels, joint=False) for group in range(max(1, groups - work // product.depth), groups)]
    rest = min(rests, key=late, default=None)
    if rest is None or late(rest) >= work:
        return same
    first_tiles = product.task(0, pixels, joint=True, pixel_outer=False, tiles=tiles - 1, macs=pixels * before)
    cut = [first_tiles, tile(0, rest.get("px_start"), joint=True), rest]
    waiting = list(attention)
    waiting[sums[0]] = replace(first, wait=Unit.RMAC)
    waiting[sums[1]] = replace(second, wait=second.wait | _BOTH)
    return cut, waiting


def stem_beside_pool(stem: PwProduct, body: Sequence[Task]) -> list[Task]:
    """The next picture's stem beside the pooling of the one before, which leaves MAT nothing to do.

    MAT alone does the first pixels, as long as POOL takes, if the rows that the stem writes are not those that POOL reads.

    Parameters
    ----------
    stem : PwProduct
        The product that follows LOAD.
    body : sequence of Task
        A picture's tasks, LOAD to POOL.

    Returns
    -------
    list of Task
        The same with the stem in two tasks, or unchanged.
    """
    at = next((index for index, task in enumerate(body) if task.get("behind_load")), None)
    pool = body[-1]
    if at is None or pool.opcode is not Opcode.POOL or not body[at].joint or body[at].get("px_end") < stem.pixels:
        return list(body)
    read = range(pool.get("src_base"), pool.get("src_base") + -(-pool.get("tiles") // stem.config.wide) * pool.get("src_rows"))
    written = stem.destination.first
    if written.buffer is pool.fields["src"] and written.base < read.stop and read.start < written.end:
        return list(body)
    cycles = stem.tiles(False) * stem.depth
    turn = min(stem.pixels, (pool.beats(stem.config) - START) // cycles << stem.split)
    if not 0 < turn < stem.pixels or not stem.resident(False):
        return list(body)
    behind = {"pixel_outer": True, "gated": True, "behind_load": True}
    first = stem.task(0, turn, joint=False, wait=Unit.MAT, macs=turn * stem.matrix_macs(), **behind)
    rest = stem.task(turn, stem.pixels, joint=True, wait=_BOTH, macs=(stem.pixels - turn) * stem.matrix_macs(), **behind)
    return [*body[:at], first, rest, *body[at + 1 :]]
