"""The compiler: an artifact's layers to a program for a configuration."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from hw.compiler.allocation import Allocation
from hw.compiler.bands import cut, numbers
from hw.compiler.batch import unrolled, vector_layers
from hw.compiler.early import early_starts
from hw.compiler.head_cut import Beside
from hw.compiler.heads import queries_first
from hw.compiler.lower.attention import HeadBatch, beside_aggregation, in_turn
from hw.compiler.lower.depthwise import Depthwise
from hw.compiler.lower.product import PwProduct
from hw.compiler.overlap import stem_beside_pool, sums_beside_product
from hw.compiler.placed import PlacedLayers
from hw.compiler.places import WHOLE, NoPlaceError
from hw.compiler.program import Batch, Program, pages
from hw.compiler.refusals import refuse_what_no_engine_does
from hw.compiler.tasks import Task, not_behind_load
from hw.config import AcceleratorConfig
from hw.control.descriptor import Buffer
from quant.artifact import Artifact
from quant.layer import Layer


def _groups(layer: Layer) -> bool:
    """Whether it is a group convolution."""
    return layer.kind == "pw" and layer.attrs["groups"] > 1


class _Compiler:
    """One compilation: the layers in order, step by step."""

    def __init__(self, artifact: Artifact, config: AcceleratorConfig, pictures: int, vectors_in: tuple[Buffer, ...]):
        self.artifact, self.orders = queries_first(artifact)
        self.vectors = vector_layers(artifact) if pictures > 1 else ()
        self.pictures, self.vectors_in, self.config = pictures, vectors_in, config
        self.tensors = Allocation(self.artifact, config, self.orders, self.vectors, pictures)
        self.layers = PlacedLayers(self.tensors)
        self.products: dict[str, PwProduct] = {}

    def run(self) -> Program:
        """Walk the layers in order."""
        layers = self.artifact.layers
        refuse_what_no_engine_does(self.artifact)
        if self.vectors:
            self.tensors.hold_vectors(self.vectors_in)
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
            self.tensors.release(step)
        (head if self.vectors else body).append([self.layers.store()])
        picture = list(chain(*body))
        if self.vectors:
            picture = stem_beside_pool(self.products[layers[0].name], picture)
        return self._program(not_behind_load(picture), list(chain(*head)))

    def _whole_or_in_bands(self, step: int) -> tuple[list[Task], int]:
        """The tasks of the next layers and how many these are: few with whole results, more where these do not fit."""
        saved = self.tensors.saved()
        try:
            return self._step(step)
        except NoPlaceError:
            spans = [self.artifact.layers[step:end] for end in self._ends(step)]
            options = [(count, span) for span in spans for count in numbers(span[-1].output_shape[1])]
            # Each band costs a pipeline's fill a layer.
            for count, span in sorted(options, key=lambda option: option[0]):
                self.tensors.restore(saved)
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
            return self._single(layers[step]), 1
        pair = [self.layers.depthwise(layers[step]).task(), *self.layers.groups(layers[step + 1], gated=True)]
        depthwise, *products = (task.beats(self.config) for task in pair)
        batches = self._batches_beside(step, Beside(depthwise, sum(products)))
        if batches is None:
            return pair, 2
        return beside_aggregation(batches, pair[0], pair[1:]), 3

    def _is_pair(self, step: int) -> bool:
        """Whether a depthwise layer is followed by the product that alone reads it: MAT follows R-MAC then."""
        two = self.artifact.layers[step : step + 2]
        kinds, users = [layer.kind for layer in two], self.tensors.users[two[0].name]
        return kinds == ["dw", "pw"] and [user.name for user in users] == [two[1].name]

    def _ends(self, step: int) -> Iterator[int]:
        """Ends of spans of layers that can be computed in bands: only the last one's result is read outside."""
        layers = self.artifact.layers
        for end in range(step + 1, len(layers) + 1):
            span = layers[step:end]
            if span[-1].kind not in ("conv", "dw", "pw") or _groups(span[-1]):
                return
            inside = {layer.name for layer in span}
            closed = all(user.name in inside for layer in span[:-1] for user in self.tensors.users[layer.name])
            if closed and not self._is_pair(end - 1):
                yield end

    def _fused(self, layers: Sequence[Layer], bands: int) -> list[Task]:
        """Convolutions and products, band by band: in each one layer after the other, a depthwise layer with what follows it."""
        rows = cut(layers, bands)
        tasks: list[Task] = []
        work: dict[str, PwProduct | Depthwise] = {}
        for layer in layers:
            # The last result is kept whole.
            kept = WHOLE if layer is layers[-1] else rows[layer.name].kept(self.config.l)
            if layer.kind == "conv":
                stem = self.layers.stem(layer, kept)
                work[layer.name] = stem
                tasks.append(self.layers.load(layer, stem))
            elif layer.kind == "dw":
                work[layer.name] = self.layers.depthwise(layer, kept)
            else:
                work[layer.name] = self.layers.product(layer, self.tensors.narrow[layer.inputs[0]], kept)
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

    def _batches_beside(self, step: int, aggregation: Beside) -> list[HeadBatch] | None:
        """The attention behind a layer and its group convolution, where it also reads that layer's input and there is room."""
        names = self.artifact.layers[step : step + 3]
        if len(names) < 3 or names[2].kind != "attention" or names[2].inputs != (names[0].inputs[0], names[1].name):
            return None
        attention = names[2]
        try:
            return self.layers.head_batches(attention, aggregation)
        except NoPlaceError:
            # The result does not fit beside the depthwise layer's, which is gone when attention is a step of its own.
            self.tensors.forget(attention.name)
            return None

    def _single(self, layer: Layer) -> list[Task]:
        """The tasks of a layer that is a step of its own and has no bands."""
        match layer.kind:
            case "pw":
                return self.layers.groups(layer, gated=False)
            case "fc":
                return self.layers.product(layer, self.tensors.narrow[layer.inputs[0]]).alone(0, self.tensors.pixels(layer))
            case "attention":
                return in_turn(self.layers.head_batches(layer))
        return [self.layers.vector(layer)]

    def _program(self, body: list[Task], head: list[Task]) -> Program:
        _, height, width = self.artifact.input_shape
        places = {layer.name: self.tensors.first(layer.name) for layer in self.artifact.layers}
        name, output, picture_bytes = str(self.artifact.network["name"]), self.artifact.output, 3 * height * width
        one = Program(self.config, name, (*body, *head), places, output, picture_bytes, orders=self.orders)
        if self.pictures == 1:
            return replace(one, tasks=early_starts(one.tasks, self.config))
        beat = self.config.beat_bytes
        batch = Batch(self.pictures, self.vectors, pages(picture_bytes) // beat, pages(one.output_bytes) // beat)
        repeated = sum(len(task.packets) for task in body)
        tasks = early_starts(unrolled(body, head, batch), self.config)
        return replace(one, tasks=tasks, batch=batch, repeated=repeated)


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
