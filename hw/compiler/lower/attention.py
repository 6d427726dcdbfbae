"""Linear attention: heads in batches, K^T V and sums on R-MAC beside divisors and quotients on MAT (architecture, section 6)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from amaranth.utils import exact_log2

from hw.compiler.head_cut import Beside, HeadCost, cut
from hw.compiler.lower.fields import Destination, source_fields
from hw.compiler.packets import PARAMS, ChannelParams, Packet
from hw.compiler.places import Place
from hw.compiler.tasks import ALL, NONE, Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import Act, Buffer, Opcode, Unit
from hw.timing import Timing
from quant.contract import ACT_BITS, CODE_BITS, QUOTIENT_SHIFT
from quant.layer import Layer
from triovit.errors import UserError


@dataclass(frozen=True)
class HeadBatch:
    """Some heads of one source: ``sums`` on R-MAC (KTV), then ``divisors`` (DIV) and ``quotients`` (QZ) on MAT.

    ``beside``: they run beside the depthwise layer of an aggregation. Their waits are set by who puts batches in order.
    """

    source: int
    beside: bool
    sums: Task
    divisors: Task
    quotients: Task


def is_wide(layer: Layer) -> bool:
    """Whether an attention's K^T V is multiplied in two parts."""
    return bool(layer.attrs["z_bits"] > ACT_BITS)


def attention_split(layer: Layer, config: AcceleratorConfig) -> int:
    """``log2(lp)`` of an attention's quotients: slots for each channel group of a head, and for both parts of what is wide.

    Raises
    ------
    UserError
        A head that the engines cannot cut up.
    """
    dim = layer.attrs["dim"]
    groups = dim // config.m
    if dim % config.m or dim > config.max_dim or 2 * groups > config.wide or groups & (groups - 1):
        raise UserError(
            f"layer {layer.name}: heads of dimension {dim} cannot be mapped on configuration {config.name}; "
            f"supported are powers of two from {config.m} to {min(config.max_dim, config.wide * config.m // 2)}"
        )
    # Two groups of slots always fit, as two groups of channels fit R-MAC's lanes, and those are no more than blocks.
    return exact_log2(config.l // (groups << is_wide(layer)))


def head_batches(
    layer: Layer,
    tag: int,
    wide_sources: Sequence[Place],
    narrow_sources: Sequence[Place],
    destination: Destination,
    config: AcceleratorConfig,
    queries_first: bool,
    aggregation: Beside | None = None,
) -> list[HeadBatch]:
    """An attention's tasks, batch by batch in the order of the heads.

    ``queries_first`` says how channels are ordered (:mod:`hw.compiler.heads`): the queries of all heads, then keys and values
    head by head; or all three head by head. ``aggregation`` makes the second source beside heads of the first. Two batches may be
    under way at a time: one being summed, one being divided. Codes are kept for one.

    Raises
    ------
    UserError
        A head that does not fit the buffers.
    """
    dim = layer.attrs["dim"]
    pixels, groups = wide_sources[0].pixels, dim // config.m
    split = attention_split(layer, config)
    rows = -(-pixels // config.l)
    # Two rows a head, of two batches at a time, fit R-MAC's parameter ring, and those of one batch fit MAT's.
    most = min(config.z_rows // 2 // groups, config.divisor_rows // rows, config.param_rows // 4)
    if not most:
        raise UserError(
            f"layer {layer.name}: a head of {pixels} pixels and dimension {dim} does not fit the divisor buffer "
            f"({config.divisor_rows * config.l} pixels) or the Z buffer ({config.z_rows} rows, two batches) of configuration "
            f"{config.name}; use a larger one or a smaller resolution"
        )
    every = exact_log2(config.l)
    arrays, step = layer.arrays, 3 * groups  # channel groups of a head
    fine = layer.attrs["code_bits"] > CODE_BITS
    act = Act.QUOTIENT if fine else Act.NONE
    parts = {"wide": int(is_wide(layer))}

    def shared(engine: str, heads: range, *sets: dict[str, str]) -> Packet:
        """Rows of one word for all slots: one for each head and each of ``sets`` (parameter to array)."""
        words = [
            ChannelParams.of(config, config.m, **{key: arrays[name][head] for key, name in names.items()}).groups(0, 1, config)
            for head in heads
            for names in sets
        ]
        return Packet(PARAMS[engine], every, np.stack(words))

    batches: list[HeadBatch] = []
    cost = HeadCost.of(pixels, groups, split, config)
    counts = [place.groups // step for place in wide_sources]
    for index, batch in enumerate(cut(counts, most, cost, Timing.of(config), aggregation)):
        source, first, count = batch.source, batch.first, batch.count
        heads = range(sum(counts[:source]) + first, sum(counts[:source]) + first + count)
        common = {"tag": tag, "px_end": pixels, "z_row": (index & 1) * (config.z_rows // 2)}
        wide, narrow = source_fields(wide_sources[source]), source_fields(narrow_sources[source])
        if queries_first:
            query, query_step = first * groups, groups
            key, key_step = (wide_sources[source].groups // 3) + 2 * first * groups, 2 * groups
        else:
            query, query_step, key, key_step = first * step, step, first * step + groups, step
        fields = {
            **common,
            **wide,
            "src_cg": key,
            "src_step": key_step,
            "v_cg": key + groups,
            "dst": Buffer.Z,
            "lp": every,
            "tiles": groups,
            "heads": count,
            **parts,
        }
        packet = shared("rmac", heads, {"mult": "z_mult", "shift": "z_shift"}, {"mult": "k_mult", "shift": "k_shift"})
        sums = Task(layer.name, Opcode.KTV, fields, NONE, (packet,), count * pixels * dim * (dim + 1))
        fields = {
            **common,
            **narrow,
            "src_cg": query,
            "src_step": query_step,
            "dst": Buffer.DIV,
            "dst_rows": rows,
            "lp": every,
            "tiles": count,
            "depth": groups,
            "relu": 1,
            "act": act,
        }
        packet = shared("mat", heads, {"shift": "div_min"})
        divisors = Task(layer.name, Opcode.DIV, fields, NONE, (packet,), count * pixels * dim)
        fields = {
            **common,
            **narrow,
            "src_cg": query,
            "src_step": query_step,
            **destination.fields(),
            "dst_cg": heads.start * groups,
            "lp": split,
            "tiles": count,
            "depth": groups,
            "relu": 1,
            "use_code": 1,
            **parts,
            "act": act,
            "out_shift": QUOTIENT_SHIFT if fine else 0,
        }
        packet = shared("mat", heads, {"mult": "o_mult", "shift": "o_shift"})
        quotients = Task(layer.name, Opcode.QZ, fields, NONE, (packet,), count * pixels * dim * dim)
        batches.append(HeadBatch(source, batch.beside, sums, divisors, quotients))
    return batches


def in_turn(batches: Sequence[HeadBatch]) -> list[Task]:
    """Batches as a step of their own: the sums of the next one beside the divisors and quotients of this one.

    Z's halves alternate: the batch after next waits until MAT has read them.
    """
    sums = [
        replace(batch.sums, wait=ALL if index == 0 else Unit.MAT if index > 1 else NONE) for index, batch in enumerate(batches)
    ]
    tasks = sums[:1]
    for index, batch in enumerate(batches):
        # The dispatch of the next sums tells that these are done; behind the last ones nothing does.
        wait = NONE if index + 1 < len(batches) else Unit.RMAC
        tasks += [*sums[index + 1 : index + 2], replace(batch.divisors, wait=wait), batch.quotients]
    return tasks


def beside_aggregation(batches: Sequence[HeadBatch], depthwise: Task, products: Sequence[Task]) -> list[Task]:
    """The first source's heads first: their divisors and quotients run on MAT beside the depthwise layer of the aggregation.

    Then come ``products``, the group convolution that follows it pixel by pixel, and the heads of the aggregated source. Heads of
    the first source that are left for then have their sums behind the depthwise layer, beside the last products.
    """
    tasks = in_turn([batch for batch in batches if batch.beside])
    # It starts when the last sums are done, which its dispatch tells the last divisors.
    tasks[-2:] = [replace(depthwise, wait=NONE), replace(tasks[-2], wait=NONE), tasks[-1]]
    after = [batch for batch in batches if not batch.beside]
    behind = in_turn(after)
    if after[0].source == 0:
        # The next sums need the products, which have ended when the divisors begin; those need their sums.
        left, following, divisors = behind[:3]
        behind[:3] = [replace(left, wait=NONE), replace(divisors, wait=Unit.RMAC), following]
    return [*tasks, *products, *behind]
