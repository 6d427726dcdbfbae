"""What the L blocks run over: the choice of ``lp`` and of both engines or one, layer by layer."""

from dataclasses import dataclass

from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig


@dataclass(frozen=True)
class Mapping:
    """A split of the blocks for a 1x1 product and what it costs, in cycles of work.

    ``cycles`` are those without any weights at hand; ``ahead`` those where the rings were full of its weights when it began.
    """

    split: int
    joint: bool
    tiles: int
    cycles: int
    ahead: int
    #: Whether it takes longer for the weights to come than to use them.
    streams: bool


def pw_cycles(config: AcceleratorConfig, pixels: int, groups: int, depth: int, split: int, joint: bool) -> Mapping:
    """Cost of a PW product of ``groups`` output channel groups and ``depth`` input words a pixel.

    The array needs ``depth`` cycles a tile and pixel group; post-processing one cycle for each engine's result; DRAM one cycle
    a beat of weights and parameters.
    """
    engines = 2 if joint else 1
    slots = config.l >> split
    tiles = -(-groups // (slots * engines))
    pixel_groups = -(-pixels // (1 << split))
    compute = tiles * pixel_groups * max(depth, engines)
    stream = tiles * engines * (slots * (depth + config.param_beats) + 2)
    held = engines * slots * min(config.weight_rows, tiles * depth)
    return Mapping(split, joint, tiles, max(compute, stream), max(compute, stream - held), stream > compute)


def best_pw(config: AcceleratorConfig, pixels: int, groups: int, depth: int, splits: tuple[int, ...] | None = None) -> Mapping:
    """The cheapest mapping; among equals the one whose weights come soonest, with most pixel slots, then with both engines.

    A product whose weights take longer to come than to use is the cheaper the more of them wait in the rings, whose rows are
    the longer the fewer pixel slots there are.
    """
    every = tuple(range(exact_log2(config.l) + 1)) if splits is None else splits
    options = [pw_cycles(config, pixels, groups, depth, split, joint) for split in every for joint in (False, True)]
    fitting = [option for option in options if option.tiles <= config.mat_param_rows] or options
    return min(fitting, key=lambda option: (option.ahead, option.cycles, -option.split, not option.joint))
