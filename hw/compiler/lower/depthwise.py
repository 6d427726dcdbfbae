"""Depthwise convolutions, cut into tasks of R-MAC."""

from dataclasses import dataclass, replace

from amaranth.utils import exact_log2

from hw.compiler.lower.fields import Destination, post_fields, source_fields
from hw.compiler.packets import ChannelParams, depthwise_packet, param_packet
from hw.compiler.places import Place
from hw.compiler.refusals import refuse_parameters
from hw.compiler.tasks import ALL, Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import Opcode
from quant.layer import Layer
from triovit.errors import UserError


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
        # A row each, also where fewer channel groups are folded than fill a chunk: results of all of them look theirs up.
        rows = config.wide >> source.fold if source.fold else groups
        refuse_parameters(layer, rows, "R-MAC", config)
        weight = layer.arrays["weight"].reshape(channels, -1)
        weights = depthwise_packet(config, weight, layer.arrays["pad"], source.fold)
        segment = config.l << source.fold
        if weights.rows > config.weight_rows:
            raise UserError(
                f"layer {layer.name}: {channels} channels of {kernel}x{kernel} weights exceed weight_rows = "
                f"{config.weight_rows} of configuration {config.name}; use a larger one"
            )
        every = exact_log2(config.l)
        packets = (
            param_packet(config, "rmac", every, ChannelParams.of_layer(layer, config), list(range(rows))),
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
            "lp": every,
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
