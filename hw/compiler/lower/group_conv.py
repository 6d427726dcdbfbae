"""Group convolutions: products whose input channels are those of a group, on MAT."""

from amaranth.utils import exact_log2

from hw.compiler.lower.fields import Destination, post_fields, source_fields
from hw.compiler.packets import ChannelParams, Packet, matrix_packet, param_packet
from hw.compiler.places import Place
from hw.compiler.tasks import ALL, Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import Opcode, Unit
from quant.layer import Layer
from triovit.errors import UserError


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
    most = min(config.mat_param_rows, config.weight_rows // depth)
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
