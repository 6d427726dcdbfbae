"""In which buffers the tensors of a network lie while its layers are mapped one after the other."""

from collections.abc import Collection, Sequence

from amaranth.utils import exact_log2

from hw.compiler.bands import Kept, readers
from hw.compiler.lower.fields import Destination
from hw.compiler.places import WHOLE, BufferMap, NoPlaceError, Place
from hw.config import AcceleratorConfig
from hw.control.descriptor import MAX_FOLD, Buffer
from quant.artifact import Artifact
from quant.layer import Layer

_State = tuple[BufferMap, dict[str, Place], dict[str, Place]]


class Allocation:
    """Places of tensors, from the task that writes one to the last that reads it.

    Parameters
    ----------
    artifact : Artifact
        The network, with channels in the order in which they lie.
    config : AcceleratorConfig
        Whose buffers.
    ordered : collection of str
        Layers whose queries come first (:mod:`hw.compiler.heads`).
    vectors : sequence of str
        Pooling and the layers behind it where there are several pictures, whose results are then side by side.
    pictures : int
        How many.
    """

    def __init__(
        self, artifact: Artifact, config: AcceleratorConfig, ordered: Collection[str], vectors: Sequence[str], pictures: int
    ):
        self.artifact, self.config, self.ordered, self.vectors, self.pictures = artifact, config, ordered, vectors, pictures
        tensors = [artifact.input_name, *(layer.name for layer in artifact.layers)]
        self.users = {tensor: readers(artifact.layers, tensor) for tensor in tensors}
        self.wide: dict[str, Place] = {}  # the copy in H
        self.narrow: dict[str, Place] = {}  # the copy that MAT or the residual reader reads
        self._map = BufferMap(config)

    def hold_vectors(self, buffers: tuple[Buffer, ...]) -> None:
        """Take a place for the pooled vectors, which stay while the next pictures pass, before everything else's."""
        pooled = self.artifact.layer(self.vectors[0])
        groups = -(-pooled.output_shape[0] // self.config.m)
        self.narrow[pooled.name] = self._map.take(pooled.name, buffers, groups, self.pictures, 0)

    def saved(self) -> _State:
        """The places as they are, to come back to."""
        return self._map.copy(), dict(self.wide), dict(self.narrow)

    def restore(self, saved: _State) -> None:
        """Forget all places that were taken since, and have those back that were given up."""
        held, wide, narrow = saved
        self._map, self.wide, self.narrow = held.copy(), dict(wide), dict(narrow)

    def first(self, tensor: str) -> Place:
        """The copy that MAT or the residual reader reads, where there is one, or else the one in H."""
        return self.narrow.get(tensor) or self.wide[tensor]

    def forget(self, tensor: str) -> None:
        """A tensor that is not written here after all."""
        self._map.free(tensor)
        self.narrow.pop(tensor, None)
        self.wide.pop(tensor, None)

    def picture(self, stem: Layer, groups: int, split: int, rings: Sequence[int]) -> Place:
        """Take a place for the unfolded picture, with the first of ``rings`` (log2 of its rows; 0: all of it) that fits.

        Raises
        ------
        NoPlaceError
            None does; the words are the last one's.
        """
        image, what = self.artifact.input_name, f"layer {stem.name}: its unfolded picture"
        for ring in rings:
            kept = Kept(ring=ring)
            try:
                self.narrow[image] = self._map.take(image, (Buffer.D,), groups, self.pixels(stem), split, what, kept=kept)
                break
            except NoPlaceError:
                if ring == rings[-1]:
                    raise
        return self.narrow[image]

    def pixels(self, layer: Layer) -> int:
        """Pixels of a result; vectors of several pictures are the pixels of one."""
        shape = layer.output_shape
        if layer.name in self.vectors:
            return self.pictures
        return shape[1] * shape[2] if len(shape) == 3 else 1

    def release(self, step: int) -> None:
        """What no layer from ``step`` on reads gives its rows back; the step before has ended before the next one writes."""
        later = {layer.name for layer in self.artifact.layers[step:]}
        for tensor, users in self.users.items():
            if (
                tensor != self.artifact.output
                and not any(user.name in later for user in users)
                and (tensor in self.wide or tensor in self.narrow)
            ):
                self._map.free(tensor)

    def destination(self, layer: Layer, split: int, kept: Kept = WHOLE) -> Destination:
        """Take places for a layer's result: H where R-MAC reads it, X, Y or D where MAT or the residual reader does.

        Tasks with ``lp = 2^split`` write it; of all copies but an output's there is what ``kept`` says at a time.

        Raises
        ------
        NoPlaceError
            A buffer is full.
        """
        if layer.name in self.narrow:
            return Destination(self.narrow[layer.name])
        groups, pixels = -(-layer.output_shape[0] // self.config.m), self.pixels(layer)
        if layer.name == self.artifact.output:
            place = self._map.take(layer.name, (Buffer.O,), groups, pixels, split)
            self.narrow[layer.name] = place
            return Destination(place)
        users = self.users[layer.name]
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
            place = self._map.take(layer.name, (Buffer.H,), groups, pixels, split, fold=fold, kept=kept, high=high)
            self.wide[layer.name] = place
            places.append(place)
        if mat or residual or not wide:
            working = layer.kind in ("dw", "attention", "pool") or any(user.kind == "attention" for user in users)
            buffers = [(Buffer.D,), self._beside_residuals(users)] if working and not residual else [(Buffer.X, Buffer.Y)]
            if places and layer.name in self.ordered:
                # MAT reads the queries alone, a third, in whole results.
                slots = self.config.l >> split
                groups = min(groups, -(-groups // 3 // slots) * slots)
            self.narrow[layer.name] = self._first_fit(layer.name, buffers, groups, pixels, split, kept)
            places.append(self.narrow[layer.name])
        return Destination(*places)

    def residual(self, layer: Layer) -> Place | None:
        """Where a layer reads its residual; None where it has none."""
        if layer.post is None or layer.post.residual is None:
            return None
        return self.narrow[layer.post.residual.tensor]

    def _first_fit(
        self, tensor: str, choices: list[tuple[Buffer, ...]], groups: int, pixels: int, split: int, kept: Kept
    ) -> Place:
        """A place in the first of ``choices`` that has one; the error is the first one's."""
        first, *others = choices
        try:
            return self._map.take(tensor, first, groups, pixels, split, kept=kept)
        except NoPlaceError:
            for buffers in filter(None, others):
                try:
                    return self._map.take(tensor, buffers, groups, pixels, split, kept=kept)
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
        on_rmac = [user for user in users if layer.name in user.inputs and user.kind in ("dw", "attention", "pool")]
        if split != exact_log2(self.config.l) or layer.kind not in ("conv", "pw"):
            return 0
        if any(user.kind != "dw" or user.attrs["stride"] != 1 for user in on_rmac):
            return 0
        wide, lanes = self.config.wide, self.config.l
        return next((fold for fold in range(MAX_FOLD, 0, -1) if groups <= wide >> fold and pixels > lanes << fold - 1), 0)
