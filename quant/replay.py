"""The integer replay: an artifact computed in torch, exactly as docs/integer-contract.md says, every layer's output kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant import integer
from quant.artifact import Artifact
from quant.data import Labels, Pictures, Progress, check_pictures
from quant.layer import Layer
from triovit.errors import InternalError

#: Tensors of all pictures by name: layers' outputs, and an attention's ``.z``, ``.ksum`` and ``.code``.
Tensors = dict[str, Tensor]


def _accumulate(layer: Layer, x: Tensor, arrays: Tensors) -> Tensor:
    """The accumulators of every kind but attention, bias not yet added."""
    attrs = layer.attrs
    if layer.kind == "conv":
        return integer.convolve(x, arrays["weight"], arrays["pad"], attrs["stride"], 1)
    if layer.kind == "dw":
        return integer.convolve(x, arrays["weight"][:, None], arrays["pad"], attrs["stride"], x.shape[1])
    if layer.kind == "pw":
        return integer.convolve(x, arrays["weight"][:, :, None, None], torch.zeros(x.shape[1]), 1, attrs["groups"])
    if layer.kind == "fc":
        return integer.product(x, arrays["weight"].T)
    if layer.kind == "upsample":
        return integer.upsample(x, attrs["factor"])
    if layer.kind == "pool":
        return x.sum((2, 3))
    if layer.kind == "layernorm":
        return integer.normalise(x) * arrays["gamma"]
    raise InternalError(f"layer {layer.name}: kind {layer.kind} has no arithmetic")


def _attend(layer: Layer, inputs: list[Tensor], arrays: Tensors, tensors: Tensors) -> Tensor:
    q, k, v = integer.split_heads(inputs, layer.attrs["dim"])
    z, ksum = integer.attention_sums(
        k, v, (arrays["z_mult"], arrays["z_shift"]), (arrays["k_mult"], arrays["k_shift"]), layer.attrs["z_bits"]
    )
    divisor = integer.product(ksum[:, :, None], q)[:, :, 0]
    code_bits = layer.attrs["code_bits"]
    code = integer.divisor_code(divisor, arrays["div_min"], code_bits)
    numerator = integer.product(z.transpose(-1, -2), q)
    mult, shift = (arrays[name].reshape(1, -1, 1, 1) for name in ("o_mult", "o_shift"))
    quotient = integer.quotient(numerator, code[:, :, None], mult, shift, code_bits)
    tensors[f"{layer.name}.z"], tensors[f"{layer.name}.ksum"], tensors[f"{layer.name}.code"] = z, ksum, code
    return quotient.reshape(len(quotient), *layer.output_shape)


def compute(layer: Layer, tensors: Tensors) -> Tensor:
    """Compute a layer of all pictures (int64 ``[N, *output_shape]``) from the tensors that it reads (int64), in ``tensors``.

    An attention also leaves there what is inside of it.
    """
    arrays = {name: torch.from_numpy(array.astype(np.int64)) for name, array in layer.arrays.items()}
    inputs = [tensors[name] for name in layer.inputs]
    if layer.post is None:
        return _attend(layer, inputs, arrays, tensors)
    acc = _accumulate(layer, inputs[0], arrays)
    bias, mult, shift, three, zero = (
        arrays[name].reshape(1, -1, *[1] * (acc.ndim - 2)) for name in ("bias", "mult", "shift", "three", "zero")
    )
    t = integer.first_step(acc, bias, mult, shift)
    if layer.logits:
        return t
    residual = tensors[layer.post.residual.tensor] if layer.post.residual else None
    return integer.second_step(t, layer.post, three, zero, residual)


def _run(artifact: Artifact, pictures: Pictures, keep: Callable[[Layer, Tensors], None]) -> None:
    """Compute all layers of a batch; ``keep`` sees the tensors after each one."""
    tensors = {artifact.input_name: torch.from_numpy(pictures.astype(np.int64)) - 128}
    last_use = {name: i for i, layer in enumerate(artifact.layers) for name in _reads(layer)}
    with torch.no_grad():
        for index, layer in enumerate(artifact.layers):
            tensors[layer.name] = compute(layer, tensors)
            keep(layer, tensors)
            for name in [name for name in tensors if last_use.get(name, -1) <= index and name != layer.name]:
                del tensors[name]


def _reads(layer: Layer) -> tuple[str, ...]:
    residual = layer.post.residual if layer.post else None
    return (*layer.inputs, residual.tensor) if residual else layer.inputs


def replay(artifact: Artifact, picture: Pictures) -> dict[str, npt.NDArray[Any]]:
    """Compute every layer's output for one uint8 picture ``[3, H, W]``.

    Returns
    -------
    dict
        Each layer's int8 output ``[C, H, W]`` or ``[C]`` (logits: int16), and of an attention ``att`` also ``att.z`` int16
        ``[heads, d, d]``, ``att.ksum`` int16 ``[heads, d]`` and ``att.code`` uint16 ``[heads, P]``.

    Raises
    ------
    UserError
        The picture is of another type or size.
    """
    batch = check_pictures(picture[None] if isinstance(picture, np.ndarray) else picture, _resolution(artifact))
    outputs: dict[str, npt.NDArray[Any]] = {}

    def keep(layer: Layer, tensors: Tensors) -> None:
        kinds = {
            layer.name: np.int16 if layer.logits else np.int8,
            f"{layer.name}.z": np.int16,
            f"{layer.name}.ksum": np.int16,
            f"{layer.name}.code": np.uint16,
        }
        for name, kind in kinds.items():
            if name in tensors:
                outputs[name] = tensors[name][0].numpy().astype(kind)

    _run(artifact, batch, keep)
    return outputs


def predict(artifact: Artifact, pictures: Pictures, batch: int = 8, progress: Progress | None = None) -> npt.NDArray[np.int64]:
    """Compute the artifact's output for uint8 pictures ``[N, 3, H, W]``: integers ``[N, *output_shape]``.

    Raises
    ------
    UserError
        The pictures are of another type or size.
    """
    pictures = check_pictures(pictures, _resolution(artifact))
    outputs: list[Tensor] = []

    def keep(layer: Layer, tensors: Tensors) -> None:
        if layer.name == artifact.output:
            outputs.append(tensors[layer.name])

    for start in range(0, len(pictures), batch):
        _run(artifact, pictures[start : start + batch], keep)
        if progress:
            progress("replaying", min(start + batch, len(pictures)), len(pictures))
    return torch.cat(outputs).numpy()


def score(artifact: Artifact, pictures: Pictures, labels: Labels, progress: Progress | None = None) -> float:
    """Return the share of pictures whose largest logit is the label's (the first of equals)."""
    return float((predict(artifact, pictures, progress=progress).argmax(1) == labels).mean())


def _resolution(artifact: Artifact) -> tuple[int, int]:
    return artifact.input_shape[1], artifact.input_shape[2]
