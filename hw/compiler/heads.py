"""The order of attention's channels: the queries of all heads first, so that a copy of them alone can be kept for MAT."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hw.compiler.bands import readers
from quant.artifact import Artifact
from quant.layer import Layer

Order = npt.NDArray[np.intp]


def order(heads: int, dim: int) -> Order:
    """Channel of a layer's result (queries, keys and values of one head after the other) in each place: all queries come first.

    Keys and values of a head stay beside each other, as R-MAC reads both at once from different sub-buffers of H.
    """
    every = np.arange(heads * 3 * dim).reshape(heads, 3, dim)
    return np.concatenate([every[:, 0].reshape(-1), every[:, 1:].reshape(-1)])


def _sorted(layer: Layer, wanted: Order) -> Layer:
    arrays = {name: array[wanted] if len(array) == len(wanted) else array for name, array in layer.arrays.items()}
    return replace(layer, arrays=arrays)


def _chain(artifact: Artifact, attention: Layer) -> list[Layer] | None:
    """The layers whose channels move with an attention's; None where others would see it."""
    layers: list[Layer] = []
    names: set[str] = {attention.name}
    for tensor in attention.inputs:
        own = [artifact.layer(tensor)]
        if own[0].kind == "pw" and own[0].attrs["groups"] > 1 and own[0].inputs != (artifact.input_name,):
            own.insert(0, artifact.layer(own[0].inputs[0]))
            size = own[1].output_shape[0] // own[1].attrs["groups"]
            if own[0].kind != "dw" or own[0].inputs[0] not in attention.inputs or attention.attrs["dim"] % size:
                return None
            if own[1].arrays["weight"].shape[1] != size:
                return None
        elif own[0].kind != "pw":
            return None
        layers += own
        names |= {layer.name for layer in own}
    same = all(layer.output_shape[0] == layers[0].output_shape[0] for layer in layers)
    inside = all(user.name in names for layer in layers for user in readers(artifact.layers, layer.name))
    return layers if same and inside else None


def queries_first(artifact: Artifact) -> tuple[Artifact, dict[str, Order]]:
    """The artifact with the channels of what attention reads in another order, and that order layer by layer.

    Layers whose channels cannot move, because something else reads them or a group convolution ties them together, stay as they
    are, and so does all that the same attention reads.
    """
    orders: dict[str, Order] = {}
    for attention in (layer for layer in artifact.layers if layer.kind == "attention"):
        chain = _chain(artifact, attention)
        if chain is not None:
            dim = attention.attrs["dim"]
            orders.update({layer.name: order(layer.output_shape[0] // (3 * dim), dim) for layer in chain})
    layers = [_sorted(layer, orders[layer.name]) if layer.name in orders else layer for layer in artifact.layers]
    return replace(artifact, layers=layers), orders
