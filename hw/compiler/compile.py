"""The compiler: an artifact's layers to a program for a configuration."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from amaranth.utils import exact_log2

from hw.compiler.bands import Kept, cut, numbers, readers
from hw.compiler.batch import unrolled, vector_layers
from hw.compiler.early import early_starts
from hw.compiler.head_cut import Beside
from hw.compiler.heads import queries_first
from hw.compiler.lower.attention import HeadBatch, attention_split, beside_aggregation, head_batches, in_turn
from hw.compiler.lower.depthwise import Depthwise
from hw.compiler.lower.fields import Destination, source_fields
from hw.compiler.lower.group_conv import group_conv, group_conv_split
from hw.compiler.lower.product import PwProduct, padded, pw_split, unfolded
from hw.compiler.lower.vectors import layer_norm, pool
from hw.compiler.overlap import stem_beside_pool, sums_beside_product
from hw.compiler.places import WHOLE, BufferMap, NoPlaceError, Place
from hw.compiler.program import Batch, Program, pages
from hw.compiler.tasks import ALL, Task, not_behind_load
from hw.config import AcceleratorConfig
from hw.control.descriptor import MAX_FOLD, Buffer, Opcode
from hw.io.loader import unfold_split, unfolded_groups
from quant.artifact import Artifact
from quant.layer import Layer
from triovit.errors import UserError

#: log2 of the rows of each channel group that a larger unfolded picture gets: LOAD runs ahead of the stem by as many.
LOAD_RING = 7


def _groups(layer: Layer) -> bool:
    """Whether it is a group convolution."""
    return layer.kind == "pw" and layer.attrs["groups"] > 1


class _Compiler:
    """State of one compilation: where tensors lie, and until when."""

    def __init__(self, artifact: Artifact, config: AcceleratorConfig, pictures: int, vectors_in: tuple[Buffer, ...]):
        self.artifact, self.orders = queries_first(artifact)
        tensors = [artifact.input_name, *(layer.name for layer in artifact.layers)]
        self.users = {tensor: readers(self.artifact.layers, tensor) for tensor in tensors}
        self.vectors = vector_layers(artifact) if pictures > 1 else ()
        self.pictures = pictures
        self.vectors_in = vectors_in
        self.config = config
        self.tags = {layer.name: tag for tag, layer in enumerate(artifact.layers)}
        self.map = BufferMap(config)
        self.wide: dict[str, Place] = {}  # the copy in H
        self.narrow: dict[str, Place] = {}  # the copy that MAT or the residual reader reads
        self.kept: dict[str, Kept] = {}  # what is not kept whole
        self.products: dict[str, PwProduct] = {}

    def _refuse_what_no_engine_does(self, layer: Layer) -> None:
        """What the contract allows and the hardware does not compute."""
        if layer.kind == "upsample":
            raise UserError(
                f"layer {layer.name}: enlarges a map, which no engine does; evaluate segmentation networks with the golden model"
            )
        image, output = self.artifact.input_name, self.artifact.output
        product = layer.kind in ("conv", "fc") or (layer.kind == "pw" and layer.attrs["groups"] == 1)
        if layer.post is not None and layer.post.residual is not None and not product:
            raise UserError(
                f"layer {layer.name}: a residual of a {layer.kind} layer cannot be mapped; "
                "only a 1x1 product without groups can have one"
            )
        if layer.kind != "conv" and image in layer.inputs:
            raise UserError(f"layer {layer.name}: reads the picture, which only the stem, a dense convolution, can do")
        if layer.logits and layer.name != output:
            raise UserError(f"layer {layer.name}: keeps 16-bit logits, which only the network's output can do")
        if layer.name == output and self.users.get(output):
            user = self.users[output][0].name
            raise UserError(f"layer {layer.name}: is the network's output and read by layer {user}; an output has no readers")

    def run(self) -> Program:
        """Walk the layers in order."""
        layers = self.artifact.layers
        for layer in layers:
            self._refuse_what_no_engine_does(layer)
        if self.vectors:
            # Pooled vectors stay while the next pictures pass: their place is taken before everything else's.
            first = self.artifact.layer(self.vectors[0])
            groups = -(-first.output_shape[0] // self.config.m)
            self.narrow[first.name] = self.map.take(first.name, self.vectors_in, groups, self.pictures, 0)
        body: list[list[Task]] = []
        head: list[list[Task]] = []
        step = 0
        while step < len(layers):
            steps = head if layers[step].name in self.vectors[1:] else body
            found, done = self._whole_or_in_bands(step)
            maker, last = layers[step - 1].name, layers[step + done - 1]
            if maker in self.products and last.kind == "attention" and last.inputs[0] == maker:
                steps[-1], found = sums_beside_product(self.products[maker], steps[-1], found)
            steps.append(found)
            step += done
            self._release(step)
        (head if self.vectors else body).append([self._store()])
        picture = list(chain(*body))
        if self.vectors:
            picture = stem_beside_pool(self.products[layers[0].name], picture)
        return self._program(not_behind_load(picture), list(chain(*head)))

    def _whole_or_in_bands(self, step: int) -> tuple[list[Task], int]:
        """The tasks of the next layers and how many these are: few with whole results, more where these do not fit."""
        saved = self._saved()
        try:
            return self._step(step)
        except NoPlaceError:
            spans = [self.artifact.layers[step:end] for end in self._ends(step)]
            options = [(count, span) for span in spans for count in numbers(span[-1].output_shape[1])]
            # Each band costs a pipeline's fill a layer.
            for count, span in sorted(options, key=lambda option: option[0]):
                self._restore(saved)
                try:
                    return self._fused(span, count), len(span)
                except NoPlaceError:
                    continue
            raise

    def _step(self, step: int) -> tuple[list[Task], int]:
        layers = self.artifact.layers
        count = 2 if self._is_pair(step) else 1
        if layers[step].kind in ("conv", "dw", "pw") and all(not _groups(layer) for layer in layers[step : step + count]):
            return self._fused(layers[step : step + count], 1), count
        if count == 1:
            return list(self._single(layers[step])), 1
        pair = self._dw_then_groups(layers[step], layers[step + 1])
        depthwise, *products = (task.beats(self.config) for task in pair)
        batches = self._batches_beside(step, Beside(depthwise, sum(products)))
        if batches is None:
            return pair, 2
        return beside_aggregation(batches, pair[0], pair[1:]), 3

    def _is_pair(self, step: int) -> bool:
        """Whether a depthwise layer is followed by the product that alone reads it: MAT follows R-MAC then."""
        two = self.artifact.layers[step : step + 2]
        return [layer.kind for layer in two] == ["dw", "pw"] and [user.name for user in self.users[two[0].name]] == [two[1].name]

    def _ends(self, step: int) -> Iterator[int]:
        """Ends of spans of layers that can be computed in bands: only the last one's result is read outside."""
        layers = self.artifact.layers
        for end in range(step + 1, len(layers) + 1):
            span = layers[step:end]
            if span[-1].kind not in ("conv", "dw", "pw") or _groups(span[-1]):
                return
            inside = {layer.name for layer in span}
            closed = all(user.name in inside for layer in span[:-1] for user in self.users[layer.name])
            if closed and not self._is_pair(end - 1):
                yield end

    def _fused(self, layers: Sequence[Layer], bands: int) -> list[Task]:
        """Convolutions and products, band by band: in each one layer after the other, a depthwise layer with what follows it."""
        rows = cut(layers, bands)
        # The last result is kept whole.
        self.kept.update({layer.name: rows[layer.name].kept(self.config.l) for layer in layers[:-1]})
        tasks: list[Task] = []
        work: dict[str, PwProduct | Depthwise] = {}
        for layer in layers:
            if layer.kind == "conv":
                stem = self._stem(layer)
                work[layer.name] = stem
                tasks.append(self._load(layer, stem))
            else:
                work[layer.name] = self._depthwise(layer) if layer.kind == "dw" else self._pw(layer, self.narrow[layer.inputs[0]])
        self.products.update({name: product for name, product in work.items() if isinstance(product, PwProduct)})
        first = self.artifact.layers.index(layers[0])
        for band in range(bands):
            before: Task | None = None
            for index, layer in enumerate(layers):
                start, end = rows[layer.name].pixels[band]
                behind, before = before, None
                if start == end:
                    continue
                own = work[layer.name].at(start // self.config.l)
                if isinstance(own, Depthwise):
                    tasks.append(own.task(*rows[layer.name].computed[band]))
                    before = tasks[-1] if self._is_pair(first + index) else None
                elif behind is not None:
                    tasks += own.behind(behind, start, end, self.pictures)
                else:
                    tasks += own.after_load(start, end) if layer.kind == "conv" else own.alone(start, end)
        return tasks

    def _program(self, body: list[Task], head: list[Task]) -> Program:
        _, height, width = self.artifact.input_shape
        places = {name: self.narrow.get(name) or self.wide[name] for name in self.tags}
        name, output, picture_bytes = str(self.artifact.network["name"]), self.artifact.output, 3 * height * width
        one = Program(self.config, name, (*body, *head), places, output, picture_bytes, orders=self.orders)
        if self.pictures == 1:
            return replace(one, tasks=early_starts(one.tasks, self.config))
        beat = self.config.beat_bytes
        batch = Batch(self.pictures, self.vectors, pages(picture_bytes) // beat, pages(one.output_bytes) // beat)
        repeated = sum(len(task.packets) for task in body)
        tasks = early_starts(unrolled(body, head, batch), self.config)
        return replace(one, tasks=tasks, batch=batch, repeated=repeated)

    def _pixels(self, layer: Layer) -> int:
        """Pixels of a result; vectors of several pictures are the pixels of one."""
        shape = layer.output_shape
        if layer.name in self.vectors:
            return self.pictures
        return shape[1] * shape[2] if len(shape) == 3 else 1

    def _release(self, step: int) -> None:
        # What no later layer reads gives its rows back; the whole step has ended before the next one writes.
        later = {layer.name for layer in self.artifact.layers[step:]}
        for tensor in [*self.tags, self.artifact.input_name]:
            if (
                tensor != self.artifact.output
                and not any(user.name in later for user in self.users.get(tensor, []))
                and self._exists(tensor)
            ):
                self.map.free(tensor)

    def _exists(self, tensor: str) -> bool:
        return tensor in self.wide or tensor in self.narrow

    def _destination(self, layer: Layer, split: int) -> Destination:
        """Take places for a layer's result: H where R-MAC reads it, X, Y or D where MAT or the residual reader does."""
        if layer.name in self.narrow:
            return Destination(self.narrow[layer.name])
        groups, pixels, kept = -(-layer.output_shape[0] // self.config.m), self._pixels(layer), self.kept.get(layer.name, WHOLE)
        if layer.name == self.artifact.output:
            place = self.map.take(layer.name, (Buffer.O,), groups, pixels, split)
            self.narrow[layer.name] = place
            return Destination(place)
        users = self.users.get(layer.name, [])
        wide = any(user.kind in ("dw", "attention", "pool") and layer.name in user.inputs for user in users)
        residual = any(
            user.post is not None and user.post.residual is not None and user.post.residual.tensor == layer.name for user in users
        )
        mat = any(user.kind in ("pw", "fc", "layernorm", "attention") and layer.name in user.inputs for user in users)
        places = []
        if wide:
            fold = self._fold(layer, users, groups, pixels, split)
            # Away from the stem's rows, so that the next picture's stem can begin beside pooling.
            high = bool(self.vectors) and any(user.kind == "pool" for user in users)
            self.wide[layer.name] = self.map.take(layer.name, (Buffer.H,), groups, pixels, split, fold=fold, kept=kept, high=high)
            places.append(self.wide[layer.name])
        if mat or residual or not wide:
            working = layer.kind in ("dw", "attention", "pool") or any(user.kind == "attention" for user in users)
            buffers = [(Buffer.D,), self._beside_residuals(users)] if working and not residual else [(Buffer.X, Buffer.Y)]
            if places and layer.name in self.orders:
                # MAT reads the queries alone, a third, in whole results.
                slots = self.config.l >> split
                groups = min(groups, -(-groups // 3 // slots) * slots)
            self.narrow[layer.name] = self._first_fit(layer.name, buffers, groups, pixels, split, kept)
            places.append(self.narrow[layer.name])
        return Destination(*places)

    def _first_fit(
        self, tensor: str, choices: list[tuple[Buffer, ...]], groups: int, pixels: int, split: int, kept: Kept
    ) -> Place:
        """A place in the first of ``choices`` that has one; the error is the first one's."""
        first, *others = choices
        try:
            return self.map.take(tensor, first, groups, pixels, split, kept=kept)
        except NoPlaceError:
            for buffers in filter(None, others):
                try:
                    return self.map.take(tensor, buffers, groups, pixels, split, kept=kept)
                except NoPlaceError:
                    continue
            raise

    def _beside_residuals(self, users: list[Layer]) -> tuple[Buffer, ...]:
        """Buffers of the trunk in which a result for products alone may lie: none that these also read their residual from."""
        residuals = [user.post.residual.tensor for user in users if user.post is not None and user.post.residual is not None]
        if any(user.kind != "pw" for user in users) or any(tensor not in self.narrow for tensor in residuals):
            return ()
        taken = {self.narrow[tensor].buffer for tensor in residuals}
        return tuple(buffer for buffer in (Buffer.X, Buffer.Y) if buffer not in taken)

    def _fold(self, layer: Layer, users: list[Layer], groups: int, pixels: int, split: int) -> int:
        """log2 of the sub-buffers of H for each channel group of a result: more than one where R-MAC's lanes would idle.

        Only depthwise layers of stride 1 read folded channel groups, and only products over pixels alone write them.
        """
        readers = [user for user in users if layer.name in user.inputs and user.kind in ("dw", "attention", "pool")]
        if split != exact_log2(self.config.l) or layer.kind not in ("conv", "pw"):
            return 0
        if any(user.kind != "dw" or user.attrs["stride"] != 1 for user in readers):
            return 0
        wide, lanes = self.config.wide, self.config.l
        return next((fold for fold in range(MAX_FOLD, 0, -1) if groups <= wide >> fold and pixels > lanes << fold - 1), 0)

    def _residual(self, layer: Layer) -> Place | None:
        if layer.post is None or layer.post.residual is None:
            return None
        return self.narrow[layer.post.residual.tensor]

    def _pw(self, layer: Layer, source: Place) -> PwProduct:
        config, residual = self.config, self._residual(layer)
        weight = unfolded(layer) if layer.kind == "conv" else layer.arrays["weight"]
        matrix = padded(weight, config)
        pixels, depth = self._pixels(layer), matrix.shape[1] // config.m
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
        product = PwProduct(
            layer, self.tags[layer.name], matrix, source, self._destination(layer, split), residual, split, pixels, config
        )
        if product.tiles(True) > config.param_rows:
            raise UserError(
                f"layer {layer.name}: {layer.output_shape[0]} output channels exceed param_rows = {config.param_rows} "
                f"of configuration {config.name}; use a larger one"
            )
        return product

    def _depthwise(self, layer: Layer) -> Depthwise:
        source = self.wide[layer.inputs[0]]
        shape = self.artifact.layer(layer.inputs[0]).output_shape
        destination = self._destination(layer, exact_log2(self.config.l))
        return Depthwise(layer, self.tags[layer.name], source, destination, (shape[1], shape[2]), self.config)

    def _dw_then_groups(self, layer: Layer, follower: Layer) -> list[Task]:
        first = self._depthwise(layer).task()
        destination = self._destination(follower, group_conv_split(follower, self.config))
        source, pixels = self.narrow[layer.name], self._pixels(follower)
        return [first, *group_conv(follower, self.tags[follower.name], source, destination, pixels, self.config, True)]

    def _batches_beside(self, step: int, aggregation: Beside) -> list[HeadBatch] | None:
        """The attention behind a layer and its group convolution, where it also reads that layer's input and there is room."""
        names = self.artifact.layers[step : step + 3]
        if len(names) < 3 or names[2].kind != "attention" or names[2].inputs != (names[0].inputs[0], names[1].name):
            return None
        attention = names[2]
        try:
            return self._head_batches(attention, aggregation)
        except NoPlaceError:
            # The result does not fit beside the depthwise layer's, which is gone when attention is a step of its own.
            self._forget(attention.name)
            return None

    def _saved(self) -> tuple[BufferMap, dict[str, Place], dict[str, Place]]:
        return self.map.copy(), dict(self.wide), dict(self.narrow)

    def _restore(self, saved: tuple[BufferMap, dict[str, Place], dict[str, Place]]) -> None:
        held, wide, narrow = saved
        self.map, self.wide, self.narrow, self.kept = held.copy(), dict(wide), dict(narrow), {}

    def _forget(self, tensor: str) -> None:
        self.map.free(tensor)
        self.narrow.pop(tensor, None)
        self.wide.pop(tensor, None)

    def _head_batches(self, layer: Layer, aggregation: Beside | None = None) -> list[HeadBatch]:
        destination = self._destination(layer, attention_split(layer, self.config))
        wide, narrow = [self.wide[t] for t in layer.inputs], [self.narrow[t] for t in layer.inputs]
        first = layer.inputs[0] in self.orders
        return head_batches(layer, self.tags[layer.name], wide, narrow, destination, self.config, first, aggregation)

    def _single(self, layer: Layer) -> Iterator[Task]:
        config, tag = self.config, self.tags[layer.name]
        match layer.kind:
            case "pw" if _groups(layer):
                source = self.narrow[layer.inputs[0]]
                destination = self._destination(layer, group_conv_split(layer, config))
                yield from group_conv(layer, tag, source, destination, self._pixels(layer), config, False)
            case "fc":
                yield from self._pw(layer, self.narrow[layer.inputs[0]]).alone(0, self._pixels(layer))
            case "attention":
                yield from in_turn(self._head_batches(layer))
            case "pool":
                source = self.wide[layer.inputs[0]]
                yield pool(layer, tag, source, self._destination(layer, 0), config)
            case "layernorm":
                source = self.narrow[layer.inputs[0]]
                yield layer_norm(layer, tag, source, self._destination(layer, 0), config)

    def _stem(self, layer: Layer) -> PwProduct:
        """The stem, and places for its result and for the unfolded picture."""
        config, image = self.config, self.artifact.input_name
        _, height, width = self.artifact.input_shape
        if (
            layer.inputs != (image,)
            or layer.attrs["kernel"] != 3
            or layer.attrs["stride"] != 2
            or layer.arrays["weight"].shape[1] != 3
        ):
            raise UserError(
                f"layer {layer.name}: only the stem, a 3x3 convolution of the picture's 3 channels with stride 2, can "
                f"be mapped as a dense convolution"
            )
        if not 4 <= width <= config.max_picture_width or width % 2 or height % 2:
            raise UserError(
                f"layer {layer.name}: a picture of {width}x{height} cannot be loaded by configuration {config.name}; "
                f"width and height must be even and the width from 4 to {config.max_picture_width}"
            )
        pixels, groups, split = self._pixels(layer), unfolded_groups(config), unfold_split(config)
        product = self._pw(layer, Place(Buffer.D, 0, 0, split, groups, pixels, 0))
        # Where the stem follows LOAD, a part of the picture is enough; where it does not, all of it must be there.
        whole = -(-pixels // config.l)
        rings = [ring for ring in range(LOAD_RING, 0, -1) if 1 << ring < whole] if product.follows_load else []
        sizes = rings if whole > 1 << LOAD_RING and rings else [0, *rings]
        for ring in sizes:
            try:
                what = f"layer {layer.name}: its unfolded picture"
                place = self.map.take(image, (Buffer.D,), groups, pixels, split, what, kept=Kept(ring=ring))
            except NoPlaceError:
                if ring == sizes[-1]:
                    raise
            else:
                break
        self.narrow[image] = place
        return replace(product, source=place)

    def _load(self, layer: Layer, stem: PwProduct) -> Task:
        place = stem.source
        _, height, width = self.artifact.input_shape
        pads = [int(value) & 0xFF for value in layer.arrays["pad"]]
        fields = {
            "tag": self.tags[layer.name],
            "dst": Buffer.D,
            "dst_base": place.base,
            "dst_rows": place.rows,
            "dst_ring": place.ring,
            "dst_cg_end": place.groups,
            "px_end": place.pixels,
            "stride": 2,
            "h_in": height,
            "w_in": width,
            "w_out": width // 2,
            "pad": pads[0] | pads[1] << 8 | pads[2] << 16,
        }
        return Task(layer.name, Opcode.LOAD, fields, ALL)

    def _store(self) -> Task:
        output = self.artifact.layer(self.artifact.output)
        place = self.narrow[output.name]
        fields = {
            "tag": self.tags[output.name],
            **source_fields(place),
            "dst_cg_end": place.groups,
            "px_end": place.pixels,
        }
        return Task(output.name, Opcode.STORE, fields, ALL)


def compile_network(artifact: Artifact, config: AcceleratorConfig, pictures: int = 1) -> Program:
    """Map every layer of an artifact, for runs of ``pictures`` pictures.

    Raises
    ------
    UserError
        A layer that the configuration cannot run: the message names it, the reason and the remedy.
    """
    try:
        return _Compiler(artifact, config, pictures, (Buffer.D,)).run()
    except NoPlaceError:
        if pictures == 1:
            raise
    # D may be too small for a picture beside the vectors.
    try:
        return _Compiler(artifact, config, pictures, (Buffer.X, Buffer.Y)).run()
    except NoPlaceError as error:
        raise NoPlaceError(f"a batch of {pictures} pictures cannot be mapped, a smaller one may: {error}") from error
