"""From layers to tasks, kind by kind."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from amaranth.utils import exact_log2

from hw.compiler.mapping import best_pw, pw_cycles
from hw.compiler.packets import ChannelParams, Packet, depthwise_packet, gamma_packet, matrix_packet, param_packet
from hw.compiler.places import Place
from hw.compiler.tasks import ALL, Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import Act, Buffer, Opcode, Unit
from quant.layer import Layer
from triovit.errors import UserError

Matrix = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Destination:
    """Where a layer's result goes: one place, or two."""

    first: Place
    second: Place | None = None

    def fields(self) -> dict[str, int | Buffer]:
        """The descriptor's fields; both places have the same rows a channel group, in a ring or not."""
        fields: dict[str, int | Buffer] = {
            "dst": self.first.buffer,
            "dst_base": self.first.base,
            "dst_rows": self.first.rows,
            "dst_cg": 0,
            "dst_cg_end": self.first.groups,
            "dst_fold": self.first.fold,
            "dst_ring": self.first.ring,
        }
        if self.second is not None:
            fields |= {"dst2_on": 1, "dst2": self.second.buffer, "dst2_base": self.second.base}
            fields["dst2_cg_end"] = self.second.groups
        return fields


    def at(self, row: int) -> "Destination":
        """The same where windows begin with row ``row``."""
        return Destination(self.first.at(row), self.second.at(row) if self.second is not None else None)


def source_fields(place: Place) -> dict[str, int | Buffer]:
    """The descriptor's fields of a tensor that is read."""
    return {
        "src": place.buffer,
        "src_base": place.base,
        "src_rows": place.rows,
        "src_skew": place.skew,
        "src_cg": 0,
        "src_fold": place.fold,
        "src_ring": place.ring,
    }


def post_fields(layer: Layer, residual: Place | None) -> dict[str, int | Buffer | Act]:
    """The descriptor's fields of a layer's post-processing."""
    post = layer.post
    if post is None:
        return {}
    fields: dict[str, int | Buffer | Act] = {
        "out_shift": post.out_shift,
        "logits": int(layer.logits),
        "act": Act.HARDSWISH if post.act == "hardswish" else Act.NONE,
    }
    if post.residual is not None and residual is not None:
        fields |= {
            "act": Act.RESIDUAL,
            "res_src": residual.buffer,
            "res_base": residual.base,
            "res_skew": residual.skew,
            "res_ring": residual.ring,
            "res_rows": residual.rows,
            "res_zero": post.residual.zero,
        }
    return fields


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
        fitting = [option for option in options if option.tiles <= self.config.param_rows]
        return min(fitting, key=lambda option: (option.ahead, option.cycles, not option.joint)).joint

    def resident(self, joint: bool) -> bool:
        """Whether the rings hold all weights and parameters at once."""
        tiles = self.tiles(joint)
        return tiles * self.depth <= self.config.weight_rows and tiles <= self.config.param_rows

    def behind(self, depthwise: Task, start: int, end: int, pictures: int) -> list[Task]:
        """After a DW task of the same pixels: MAT alone follows R-MAC's, then both do the rest (inter-layer pipeline).

        MAT follows with all tiles or with the first ones alone, as makes the most of DW's time.
        """
        dw_cycles, slots = depthwise.beats(self.config), self.config.l >> self.split
        # MAT's share is streamed a second time; where that takes much longer than DW itself, waiting for DW costs less. Several
        # pictures seldom need the stream for anything else, but one has the vector layers' weights to come.
        longest = (8 if pictures > 1 else 2) * dw_cycles
        every, joint = self.tiles(False), self._joint()
        most = min(every, self.config.weight_rows // self.depth, self.config.param_rows, longest // (self.depth * slots))
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


def group_conv(
    layer: Layer, tag: int, source: Place, destination: Destination, pixels: int, config: AcceleratorConfig, gated: bool
) -> list[Task]:
    """A group convolution: one tile a group, its input words advancing with the tile; as many groups a task as the rings hold."""
    weight, size = layer.arrays["weight"], config.m
    groups = layer.attrs["groups"]
    inputs, outputs = weight.shape[1], weight.shape[0] // groups
    slots = outputs // size
    if inputs % size or outputs % size or slots & (slots - 1) or slots > config.l:
        raise UserError(
            f"layer {layer.name}: groups of {inputs} to {outputs} channels cannot be mapped on configuration {config.name}; "
            f"they must be a power of two times {size}"
        )
    split, depth = exact_log2(config.l // slots), inputs // size
    params = ChannelParams.of_layer(layer, config)
    most = min(config.param_rows, config.weight_rows // depth)
    if not most:
        raise UserError(
            f"layer {layer.name}: groups of {inputs} channels exceed weight_rows = {config.weight_rows} of configuration "
            f"{config.name}; use a larger one"
        )
    tasks = []
    for first in range(0, groups, most):
        tiles = range(first, min(first + most, groups))
        packets: list[Packet] = []
        for tile in tiles:
            packets += [
                param_packet(config, "mat", split, params, [tile * slots]),
                matrix_packet(config, "mat", split, weight, tile * slots),
            ]
        fields = {
            "tag": tag,
            **source_fields(source),
            **destination.fields(),
            **post_fields(layer, None),
            "src_cg": first * depth,
            "dst_cg": first * slots,
            "px_start": 0,
            "px_end": pixels,
            "lp": split,
            "tiles": len(tiles),
            "depth": depth,
            "src_step": depth,
            "pixel_outer": 1,
            "gated": int(gated),
        }
        macs = pixels * int(weight.size) * len(tiles) // groups
        tasks.append(Task(layer.name, Opcode.PW, fields, Unit.MAT if gated else ALL, tuple(packets), macs))
    return tasks


def group_conv_split(layer: Layer, config: AcceleratorConfig) -> int:
    """``log2(lp)`` of a group convolution."""
    slots = max(1, layer.output_shape[0] // layer.attrs["groups"] // config.m)
    return exact_log2(config.l // slots) if slots & (slots - 1) == 0 and slots <= config.l else 0


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution on R-MAC, ready to be cut into bands of rows."""

    layer: Layer
    tag: int
    source: Place
    destination: Destination
    in_size: tuple[int, int]
    config: AcceleratorConfig

    def at(self, row: int) -> "Depthwise":
        """The same where the result's window begins with row ``row`` of its channel groups."""
        return replace(self, destination=self.destination.at(row))

    def task(self, first: int = 0, end: int | None = None) -> Task:
        """The task for rows ``first`` to before ``end`` of the result; all of them by default.

        Raises
        ------
        UserError
            A kernel or a number of channels that R-MAC cannot have.
        """
        layer, config, source = self.layer, self.config, self.source
        channels, height, width = layer.output_shape
        kernel, stride = layer.attrs["kernel"], layer.attrs["stride"]
        if kernel not in (3, 5) or stride not in (1, 2):
            raise UserError(
                f"layer {layer.name}: a depthwise convolution of {kernel}x{kernel}, stride {stride} cannot be mapped; "
                f"supported are 3x3 and 5x5 at stride 1 and 2"
            )
        groups = -(-channels // config.m)
        if groups > config.param_rows * config.l:
            raise UserError(
                f"layer {layer.name}: {channels} channels exceed param_rows = {config.param_rows} of configuration "
                f"{config.name}; use a larger one"
            )
        weight = layer.arrays["weight"].reshape(channels, -1)
        weights = depthwise_packet(config, weight, layer.arrays["pad"], source.fold)
        segment = config.l << source.fold
        if weights.rows > config.weight_rows:
            raise UserError(
                f"layer {layer.name}: {channels} channels of {kernel}x{kernel} weights exceed weight_rows = "
                f"{config.weight_rows} of configuration {config.name}; use a larger one"
            )
        packets = (
            param_packet(config, "rmac", 0, ChannelParams.of_layer(layer, config), list(range(0, groups, config.l))),
            weights,
        )
        end = height if end is None else end
        fields = {
            "tag": self.tag,
            **source_fields(source),
            **self.destination.fields(),
            **post_fields(layer, None),
            "px_start": first * width,
            "px_end": end * width,
            "y_start": first,
            "px_in": first * stride * self.in_size[1],
            "lp": exact_log2(config.l),
            "tiles": -(-groups // config.wide),
            "kernel": kernel,
            "stride": stride,
            "h_in": self.in_size[0],
            "w_in": self.in_size[1],
            "w_out": width,
            "step_y": segment // width,
            "step_x": segment % width,
        }
        return Task(layer.name, Opcode.DW, fields, ALL, packets, (end - first) * width * int(weight.size))


def _vector_rows(layer: Layer, groups: int, config: AcceleratorConfig) -> list[int]:
    """First channel group of each parameter row of a vector, whose channel groups fill the slots."""
    firsts = list(range(0, groups, config.l))
    if len(firsts) > config.param_rows:
        raise UserError(
            f"layer {layer.name}: {layer.output_shape[0]} channels exceed param_rows = {config.param_rows} of "
            f"configuration {config.name}; use a larger one"
        )
    return firsts


def pool(layer: Layer, tag: int, source: Place, destination: Destination, config: AcceleratorConfig) -> Task:
    """Average pooling: the row sum unit of R-MAC; the vector becomes pixel 0 of the destination."""
    params = ChannelParams.of_layer(layer, config)
    firsts = _vector_rows(layer, source.groups, config)
    fields = {
        "tag": tag,
        **source_fields(source),
        **destination.fields(),
        **post_fields(layer, None),
        "px_end": source.pixels,
        "lp": 0,
        "tiles": source.groups,
    }
    return Task(layer.name, Opcode.POOL, fields, ALL, (param_packet(config, "rmac", 0, params, firsts),))


def layer_norm(layer: Layer, tag: int, source: Place, destination: Destination, config: AcceleratorConfig) -> Task:
    """LayerNorm of the vectors that are the pixels of the source; MAT streams each twice."""
    params = ChannelParams.of_layer(layer, config)
    firsts = _vector_rows(layer, source.groups, config)
    gamma = gamma_packet(config, layer.arrays["gamma"])
    if gamma.rows > config.weight_rows:
        raise UserError(
            f"layer {layer.name}: {layer.output_shape[0]} channels exceed weight_rows = {config.weight_rows} of "
            f"configuration {config.name}; use a larger one"
        )
    packets = (param_packet(config, "mat", 0, params, firsts), gamma)
    fields = {
        "tag": tag,
        **source_fields(source),
        **destination.fields(),
        **post_fields(layer, None),
        "px_end": source.pixels,
        "lp": 0,
        "tiles": 1,
        "depth": source.groups,
        "count": layer.output_shape[0],
    }
    return Task(layer.name, Opcode.LN, fields, ALL, packets)
