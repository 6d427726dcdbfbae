"""Products: 1x1 convolutions, fully connected layers and the stem, cut into tasks of MAT or of both engines."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from amaranth.utils import exact_log2

from hw.compiler.lower.fields import Destination, post_fields, source_fields
from hw.compiler.mapping import best_pw, pw_cycles
from hw.compiler.packets import ChannelParams, Packet, matrix_packet, param_packet
from hw.compiler.places import Place
from hw.compiler.tasks import ALL, Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import Opcode, Unit
from quant.layer import Layer

Matrix = npt.NDArray[np.int8]


def unfolded(layer: Layer) -> Matrix:
    """The stem's weights in the order in which LOAD unfolds the picture: (kx, ky, channel)."""
    weight = layer.arrays["weight"]
    return weight.transpose(0, 3, 2, 1).reshape(weight.shape[0], -1)


def padded(matrix: Matrix, config: AcceleratorConfig) -> Matrix:
    """Input channels padded with zeros to whole words."""
    extra = -matrix.shape[1] % config.m
    return np.pad(matrix, ((0, 0), (0, extra)))


@dataclass(frozen=True)
class PwProduct:
    """A 1x1 product, ready to be cut into tasks."""

    layer: Layer
    tag: int
    matrix: Matrix
    source: Place
    destination: Destination
    residual: Place | None
    split: int
    pixels: int
    config: AcceleratorConfig

    def at(self, row: int) -> "PwProduct":
        """The same where windows begin with row ``row`` of their channel groups."""
        residual = self.residual.at(row) if self.residual is not None else None
        return replace(self, source=self.source.at(row), destination=self.destination.at(row), residual=residual)

    @property
    def groups(self) -> int:
        """Output channel groups."""
        return -(-self.matrix.shape[0] // self.config.m)

    @property
    def depth(self) -> int:
        """Input words a pixel."""
        return self.matrix.shape[1] // self.config.m

    def tiles(self, joint: bool) -> int:
        """Tiles of a task."""
        return -(-self.groups // ((self.config.l >> self.split) << joint))

    def task(
        self,
        start: int,
        end: int,
        *,
        joint: bool,
        pixel_outer: bool,
        gated: bool = False,
        behind_load: bool = False,
        wait: Unit = ALL,
        macs: int = 0,
        first_group: int = 0,
        tiles: int = 0,
    ) -> Task:
        """The task for pixels ``start`` to ``end``, and ``tiles`` tiles from an output channel group on (0: all)."""
        config, tiles = self.config, tiles or self.tiles(joint)
        slots = config.l >> self.split
        params = ChannelParams.of_layer(self.layer, config)
        packets: list[Packet] = []
        engines = ("mat", "rmac") if joint else ("mat",)
        for tile in range(tiles):
            firsts = [(engine, first_group + (tile * len(engines) + n) * slots) for n, engine in enumerate(engines)]
            packets += [param_packet(config, engine, self.split, params, [first]) for engine, first in firsts]
            packets += [matrix_packet(config, engine, self.split, self.matrix, first) for engine, first in firsts]
        fields = {
            "tag": self.tag,
            **source_fields(self.source),
            **self.destination.fields(),
            **post_fields(self.layer, self.residual),
            "dst_cg": first_group,
            "px_start": start,
            "px_end": end,
            "lp": self.split,
            "tiles": tiles,
            "depth": self.depth,
            "pixel_outer": int(pixel_outer),
            "joint": int(joint),
            "gated": int(gated),
            "behind_load": int(behind_load),
        }
        return Task(self.layer.name, Opcode.PW, fields, wait, tuple(packets), macs)

    def alone(self, start: int, end: int) -> list[Task]:
        """Pixels ``start`` to ``end``, not overlapped with anything.

        Where weights are what it waits for, and the last tile leaves R-MAC only padding, MAT does that tile alone.
        """
        pixels, slots, joint = end - start, self.config.l >> self.split, self._joint()
        macs = pixels * self.matrix_macs()
        mapping = pw_cycles(self.config, pixels, self.groups, self.depth, self.split, joint)
        whole = self.groups // (2 * slots)
        if not joint or not whole or not mapping.streams or not 0 < self.groups - whole * 2 * slots <= slots:
            return [self.task(start, end, joint=joint, pixel_outer=False, macs=macs)]
        first_group = whole * 2 * slots
        share = pixels * self.macs_before(first_group)
        last = {"first_group": first_group, "tiles": 1}
        return [
            self.task(start, end, joint=True, pixel_outer=False, macs=share, tiles=whole),
            self.task(start, end, joint=False, pixel_outer=False, macs=macs - share, wait=Unit.MAT, **last),
        ]

    def after_load(self, start: int, end: int) -> list[Task]:
        """The same, pixel by pixel behind LOAD where the rings hold all weights."""
        if not self.follows_load:
            return self.alone(start, end)
        macs, both = (end - start) * self.matrix_macs(), Unit.MAT | Unit.RMAC
        joint = self._joint()
        return [self.task(start, end, joint=joint, pixel_outer=True, gated=True, behind_load=True, wait=both, macs=macs)]

    @property
    def follows_load(self) -> bool:
        """Whether the rings hold all weights at once, so that the product can follow LOAD pixel by pixel."""
        return self.resident(self._joint())

    def _joint(self) -> bool:
        """Whether both engines together are faster."""
        options = [pw_cycles(self.config, self.pixels, self.groups, self.depth, self.split, joint) for joint in (False, True)]
        fitting = [option for option in options if option.tiles <= self.config.mat_param_rows]
        return min(fitting, key=lambda option: (option.ahead, option.cycles, not option.joint)).joint

    def resident(self, joint: bool) -> bool:
        """Whether the rings hold all weights and parameters at once."""
        tiles = self.tiles(joint)
        return tiles * self.depth <= self.config.weight_rows and tiles <= self.config.mat_param_rows

    def behind(self, depthwise: Task, start: int, end: int, pictures: int) -> list[Task]:
        """After a DW task of the same pixels: MAT alone follows R-MAC's, then both do the rest (inter-layer pipeline).

        MAT follows with all tiles or with the first ones alone, as makes the most of DW's time.
        """
        dw_cycles, slots = depthwise.beats(self.config), self.config.l >> self.split
        # MAT's share is streamed a second time; where that takes much longer than DW itself, waiting for DW costs less. Several
        # pictures seldom need the stream for anything else, but one has the vector layers' weights to come.
        longest = (8 if pictures > 1 else 2) * dw_cycles
        every, joint = self.tiles(False), self._joint()
        most = min(every, self.config.weight_rows // self.depth, self.config.mat_param_rows, longest // (self.depth * slots))
        # What both engines do after some tiles begins with a whole tile of theirs, whose weights come before MAT has done.
        first = range(2, min(most, self.config.weight_rows // self.depth - 1, every - 1) + 1, 2) if joint else range(0)
        # Post-processing takes a result a cycle, and R-MAC's first.
        left = max(0, dw_cycles - depthwise.results(self.config))

        def followed_groups(tiles: int) -> int:
            """Groups of pixels that MAT manages to do alone."""
            whole = -(-(end - start) // (1 << self.split))
            return min(whole, dw_cycles // (tiles * self.depth), left // tiles) if joint else whole

        choices = [*([every] if most == every else []), *reversed(first)]
        tiles = max(choices, key=lambda tiles: tiles * followed_groups(tiles), default=0)
        turn = min(end, start + (followed_groups(tiles) << self.split)) if tiles else start
        if turn == start:
            return self.alone(start, end)
        followed = self.macs_before(tiles * slots)
        behind = {"joint": False, "pixel_outer": True, "gated": True, "wait": Unit.MAT}
        tasks = [self.task(start, turn, tiles=tiles, macs=(turn - start) * followed, **behind)]
        if turn < end:
            both = -(-tiles // 2)
            tasks.append(self.task(turn, end, joint=True, pixel_outer=False, tiles=both, macs=(end - turn) * followed))
        if tiles < every:
            others, macs = tiles * slots, (end - start) * (self.matrix_macs() - followed)
            both = self.tiles(True) - tiles // 2
            tasks.append(self.task(start, end, joint=True, pixel_outer=False, first_group=others, tiles=both, macs=macs))
        return tasks

    def matrix_macs(self) -> int:
        """Products of one pixel, those with padding not counted."""
        weight = self.layer.arrays["weight"]
        return int(weight.size)

    def macs_before(self, group: int) -> int:
        """Those of the output channel groups before ``group``."""
        return int(self.layer.arrays["weight"][: group * self.config.m].size)


def pw_split(layer: Layer, config: AcceleratorConfig, pixels: int, depth: int, residual: Place | None) -> int:
    """``log2(lp)`` of a PW layer.

    A residual is read as the result is written, so its producer's split decides unless all lanes are pixels.
    """
    groups = -(-layer.output_shape[0] // config.m)
    splits = None if residual is None else tuple(sorted({residual.skew, exact_log2(config.l)}))
    return best_pw(config, pixels, groups, depth, splits).split
