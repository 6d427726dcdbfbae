"""Layers ready to be cut into tasks: what each reads is where it was written, and its result gets its places."""

from dataclasses import replace

from amaranth.utils import exact_log2

from hw.compiler.allocation import Allocation
from hw.compiler.bands import Kept
from hw.compiler.head_cut import Beside
from hw.compiler.lower.attention import HeadBatch, attention_split, head_batches
from hw.compiler.lower.depthwise import Depthwise
from hw.compiler.lower.group_conv import group_conv, group_conv_split
from hw.compiler.lower.product import PwProduct, padded, pw_split, unfolded
from hw.compiler.lower.transfers import load, store
from hw.compiler.lower.vectors import layer_norm, pool
from hw.compiler.places import WHOLE, NoPlaceError, Place
from hw.compiler.refusals import refuse_all_but_the_stem, refuse_parameters
from hw.compiler.tasks import Task
from hw.control.descriptor import Buffer
from hw.io.loader import unfold_split, unfolded_groups
from quant.layer import Layer
from triovit.errors import InternalError, UserError

#: log2 of the rows of each channel group that a larger unfolded picture gets: LOAD runs ahead of the stem by as many.
LOAD_RING = 7


class PlacedLayers:
    """The layers of a network, whose tensors ``tensors`` has places for; each layer's number in the network is its tasks' tag.

    What takes a place for a result raises NoPlaceError where there is none, and UserError where the configuration cannot have the
    layer at all.
    """

    def __init__(self, tensors: Allocation):
        self.tensors, self.config = tensors, tensors.config
        self.tags = {layer.name: tag for tag, layer in enumerate(tensors.artifact.layers)}

    def product(self, layer: Layer, source: Place, kept: Kept = WHOLE) -> PwProduct:
        """A 1x1 product, a fully connected layer or the stem.

        Raises
        ------
        UserError
            Its weights or parameters do not fit the rings.
        NoPlaceError
            Its result does not fit the buffers, or its input and its residual lie in the same one.
        """
        config, residual = self.config, self.tensors.residual(layer)
        weight = unfolded(layer) if layer.kind == "conv" else layer.arrays["weight"]
        matrix = padded(weight, config)
        pixels, depth = self.tensors.pixels(layer), matrix.shape[1] // config.m
        if depth > config.weight_rows:
            raise UserError(
                f"layer {layer.name}: {weight.shape[1]} input channels exceed weight_rows = {config.weight_rows} of "
                f"configuration {config.name}; use a larger one"
            )
        if residual is not None and residual.buffer is source.buffer:
            raise NoPlaceError(
                f"layer {layer.name}: its input and its residual both lie in buffer {source.buffer.name}, which can be "
                f"read once at a time; "
                "only a product behind a depthwise convolution or attention can have a residual"
            )
        split = pw_split(layer, config, pixels, depth, residual)
        destination, tag = self.tensors.destination(layer, split, kept), self.tags[layer.name]
        product = PwProduct(layer, tag, matrix, source, destination, residual, split, pixels, config)
        refuse_parameters(layer, product.tiles(True), "MAT", config)
        return product

    def depthwise(self, layer: Layer, kept: Kept = WHOLE) -> Depthwise:
        """A depthwise convolution."""
        source = self.tensors.wide[layer.inputs[0]]
        shape = self.tensors.artifact.layer(layer.inputs[0]).output_shape
        destination = self.tensors.destination(layer, exact_log2(self.config.l), kept)
        return Depthwise(layer, self.tags[layer.name], source, destination, (shape[1], shape[2]), self.config)

    def stem(self, layer: Layer, kept: Kept = WHOLE) -> PwProduct:
        """The stem, and places for its result and for the unfolded picture."""
        config, tensors = self.config, self.tensors
        refuse_all_but_the_stem(layer, tensors.artifact, config)
        pixels, groups, split = tensors.pixels(layer), unfolded_groups(config), unfold_split(config)
        product = self.product(layer, Place(Buffer.D, 0, 0, split, groups, pixels, 0), kept)
        # Where the stem follows LOAD, a part of the picture is enough; where it does not, all of it must be there.
        whole = -(-pixels // config.l)
        rings = [ring for ring in range(LOAD_RING, 0, -1) if 1 << ring < whole] if product.follows_load else []
        sizes = rings if whole > 1 << LOAD_RING and rings else [0, *rings]
        return replace(product, source=tensors.picture(layer, groups, split, sizes))

    def load(self, layer: Layer, stem: PwProduct) -> Task:
        """LOAD of the picture for the stem."""
        _, height, width = self.tensors.artifact.input_shape
        return load(layer, self.tags[layer.name], stem.source, (height, width))

    def store(self) -> Task:
        """STORE of the network's output."""
        output = self.tensors.artifact.output
        return store(self.tensors.artifact.layer(output), self.tags[output], self.tensors.narrow[output])

    def groups(self, layer: Layer, *, gated: bool) -> list[Task]:
        """A group convolution, pixel by pixel behind a depthwise layer where ``gated``."""
        destination = self.tensors.destination(layer, group_conv_split(layer, self.config))
        source, pixels = self.tensors.narrow[layer.inputs[0]], self.tensors.pixels(layer)
        return group_conv(layer, self.tags[layer.name], source, destination, pixels, self.config, gated)

    def head_batches(self, layer: Layer, aggregation: Beside | None = None) -> list[HeadBatch]:
        """An attention's tasks, batch by batch, beside an aggregation or not."""
        destination = self.tensors.destination(layer, attention_split(layer, self.config))
        wide, narrow = [self.tensors.wide[t] for t in layer.inputs], [self.tensors.narrow[t] for t in layer.inputs]
        first = layer.inputs[0] in self.tensors.ordered
        return head_batches(layer, self.tags[layer.name], wide, narrow, destination, self.config, first, aggregation)

    def vector(self, layer: Layer) -> Task:
        """Pooling or LayerNorm."""
        tag, destination = self.tags[layer.name], self.tensors.destination(layer, 0)
        match layer.kind:
            case "pool":
                return pool(layer, tag, self.tensors.wide[layer.inputs[0]], destination, self.config)
            case "layernorm":
                return layer_norm(layer, tag, self.tensors.narrow[layer.inputs[0]], destination, self.config)
        raise InternalError(f"layer {layer.name}: there is no task for kind {layer.kind!r}")
