"""A whole network of integers, run layer by layer with the arithmetic of docs/integer-contract.md."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant.artifact import Artifact, Layer
from sim.golden import attention, layernorm, operators
from sim.golden.arithmetic import Ints, PostParameters, Wide, post_process
from sim.golden.trace import Trace
from triovit.errors import InternalError, UserError

_ATTENTION_FIELDS = ("z_mult", "z_shift", "k_mult", "k_shift", "o_mult", "o_shift", "div_min")


def _post_parameters(layer: Layer) -> PostParameters:
    if layer.post is None:
        raise InternalError(f"layer {layer.name}: kind {layer.kind} needs post-processing")
    residual = layer.post.residual
    return PostParameters(
        **{name: layer.arrays[name] for name in ("bias", "mult", "shift", "three", "zero")},
        act=layer.post.act,  # type: ignore[arg-type]  # PostParameters refuses any other word
        out_shift=layer.post.out_shift,
        res_zero=None if residual is None else residual.zero,
        logits=layer.logits,
    )


def _sources(layer: Layer) -> tuple[str, ...]:
    """Every tensor that the layer reads, the residual last."""
    residual = None if layer.post is None else layer.post.residual
    return layer.inputs if residual is None else (*layer.inputs, residual.tensor)


class GoldenModel:
    """The reference that every other implementation must equal.

    Parameters
    ----------
    artifact
        A network that its reader has checked.
    checked
        Verify every bound of the contract on the way; costs about a tenth of the time.

    Raises
    ------
    InternalError
        A layer whose constants break the contract although the artifact was checked.
    """

    def __init__(self, artifact: Artifact, *, checked: bool = True) -> None:
        self.artifact = artifact
        self._checked = checked
        self._layers = {layer.name: layer for layer in artifact.layers}
        self._post = {layer.name: _post_parameters(layer) for layer in artifact.layers if layer.kind != "attention"}
        self._last_use = {source: layer.name for layer in artifact.layers for source in _sources(layer)}

    def run(self, pictures: NDArray[np.uint8], *, keep_all: bool = True) -> Trace:
        """Run a batch of pictures through the network.

        Parameters
        ----------
        pictures
            uint8 ``[N, 3, H, W]`` of the network's size.
        keep_all
            False keeps the output only and frees every other tensor after its last use.

        Raises
        ------
        UserError
            Pictures of another type or size.
        InternalError
            In checked mode: a value outside its bound.
        """
        self._require_pictures(pictures)
        values: dict[str, Ints] = {self.artifact.input_name: (pictures.astype(np.int16) - 128).astype(np.int8)}
        kept: dict[str, Ints] = {}
        for name, layer in self._layers.items():
            produced = self.run_layer(name, values)
            values[name] = produced[name]
            if keep_all or name == self.artifact.output:
                kept.update(produced)
            for source in _sources(layer):
                if self._last_use[source] == name:
                    values.pop(source, None)
        return Trace(tuple(self._layers), kept, self.artifact.output)

    def run_layer(self, name: str, inputs: Mapping[str, Ints]) -> dict[str, Ints]:
        """Run one layer.

        Parameters
        ----------
        name
            The layer's name.
        inputs
            At least the tensors that the layer reads, residual included, by name; each int8 with the picture as first axis.

        Returns
        -------
        The layer's output under its own name, after attention's sub-tensors ``<name>.z`` (int16 ``[N, heads, d, d]``),
        ``<name>.ksum`` (int16 ``[N, heads, d]``) and ``<name>.code`` (uint16 ``[N, heads, P]``).

        Raises
        ------
        UserError
            No such layer.
        InternalError
            A missing input or one that is not int8; in checked mode a value outside its bound. The message names the layer.
        """
        layer = self.artifact.layer(name)
        tensors: list[NDArray[np.int8]] = []
        for source in _sources(layer):
            if source not in inputs:
                raise InternalError(f"layer {name}: input {source} is missing")
            if inputs[source].dtype != np.int8:
                raise InternalError(f"layer {name}: input {source} is {inputs[source].dtype}, not int8")
            tensors.append(inputs[source])  # type: ignore[arg-type]  # just checked
        try:
            if layer.kind == "attention":
                return self._attend(layer, tensors)
            residual = tensors[-1] if self._post[name].res_zero is not None else None
            acc = self._accumulate(layer, tensors[0])
            return {name: post_process(acc, self._post[name], residual=residual, checked=self._checked)}
        except InternalError as error:
            raise InternalError(f"layer {name}: {error}") from error

    def _require_pictures(self, pictures: NDArray[np.uint8]) -> None:
        channels, height, width = self.artifact.input_shape
        found = f"{getattr(pictures, 'dtype', type(pictures).__name__)} {list(getattr(pictures, 'shape', ()))}"
        wanted = f"network {self.artifact.network.get('name')} takes uint8 [N, {channels}, {height}, {width}]"
        if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8:
            raise UserError(f"the pictures are {found}, and {wanted}; give raw pixels 0..255")
        if pictures.shape[1:] == self.artifact.input_shape:
            return
        if pictures.ndim != 4:
            remedy = f"give a batch: [N, {channels}, {height}, {width}]"
        elif pictures.shape[1:] == (height, width, channels):
            remedy = f"put the {channels} channels before height and width"
        else:
            remedy = f"resize and crop them to {height} x {width}"
        raise UserError(f"the pictures are {found}, and {wanted}; {remedy}")

    def _attend(self, layer: Layer, inputs: list[NDArray[np.int8]]) -> dict[str, Ints]:
        parameters = attention.AttentionParameters(
            dim=layer.attrs["dim"],
            code_bits=layer.attrs["code_bits"],
            z_bits=layer.attrs["z_bits"],
            **{field: layer.arrays[field] for field in _ATTENTION_FIELDS},
        )
        result = attention.attention(inputs, parameters, checked=self._checked)
        name = layer.name
        return {f"{name}.z": result.z, f"{name}.ksum": result.ksum, f"{name}.code": result.code, name: result.output}

    def _accumulate(self, layer: Layer, x: NDArray[np.int8]) -> Wide:
        arrays: dict[str, NDArray[Any]] = layer.arrays
        match layer.kind:
            case "conv":
                return operators.conv(x, arrays["weight"], arrays["pad"], layer.attrs["stride"])
            case "pw":
                return operators.pw(x, arrays["weight"], layer.attrs["groups"])
            case "dw":
                return operators.dw(x, arrays["weight"], arrays["pad"], layer.attrs["stride"])
            case "fc":
                return operators.fc(x, arrays["weight"])
            case "pool":
                return operators.pool(x)
            case "upsample":
                return operators.upsample(x, layer.attrs["factor"])
            case "layernorm":
                return layernorm.layernorm(x, arrays["gamma"], checked=self._checked)
            case kind:
                raise InternalError(f"kind {kind} is unknown")
