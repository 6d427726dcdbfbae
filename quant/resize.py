"""An artifact for pictures of another size than it was quantized for."""

from dataclasses import replace

import numpy as np

from quant.artifact import Artifact
from quant.layer import Layer
from quant.ptq.fixed_point import fixed_point
from triovit.errors import UserError


def resized(artifact: Artifact, resolution: tuple[int, int]) -> Artifact:
    """Return the network for pictures of that height and width; itself where that is its size.

    Weights and steps stay as they are. What sums over all pixels is scaled by their number: attention's sums of keys (integer
    contract, section 7) and the mean of pooling (section 5), so that the values stay in the range that was calibrated.

    Raises
    ------
    UserError
        A size that is no multiple of the network's stride, or with which a bound of the contract cannot be kept.
    """
    if resolution == artifact.input_shape[1:]:
        return artifact
    stride = artifact.input_shape[1] // min(layer.output_shape[1] for layer in artifact.layers if len(layer.output_shape) == 3)
    if min(resolution) < 1 or resolution[0] % stride or resolution[1] % stride:
        size = f"{resolution[1]}x{resolution[0]}"
        raise UserError(f"network {artifact.network['name']}: {size} is no multiple of {stride}; choose a size that is")
    shapes: dict[str, tuple[int, ...]] = {artifact.input_name: (artifact.input_shape[0], *resolution)}
    before = {artifact.input_name: artifact.input_shape, **{layer.name: layer.output_shape for layer in artifact.layers}}
    layers: list[Layer] = []
    for layer in artifact.layers:
        layers.append(_resized(layer, shapes[layer.inputs[0]], before[layer.inputs[0]]))
        shapes[layer.name] = layers[-1].output_shape
    made = replace(
        artifact,
        network={**artifact.network, "resolution": list(resolution)},
        layers=layers,
        input_shape=(artifact.input_shape[0], *resolution),
        float_score={},
    )
    made.check(f"{artifact.network['name']} at {resolution[1]}x{resolution[0]}")
    return made


def _resized(layer: Layer, shape: tuple[int, ...], before: tuple[int, ...]) -> Layer:
    """The layer for an input of ``shape``, which was ``before``."""
    if len(shape) != 3:
        return layer
    pixels, arrays = shape[1] * shape[2] / (before[1] * before[2]), dict(layer.arrays)
    scaled = {"attention": ("z_", "k_"), "pool": ("",)}.get(layer.kind, ())
    for prefix in scaled:
        factors = np.ldexp(arrays[f"{prefix}mult"].astype(np.float64), -arrays[f"{prefix}shift"]) / pixels
        arrays[f"{prefix}mult"], arrays[f"{prefix}shift"] = fixed_point(factors, layer.name)
    if layer.kind == "pool":
        arrays["bias"] = np.rint(arrays["bias"] * pixels).astype(np.int32)
        return replace(layer, arrays=arrays)
    stride, factor = layer.attrs.get("stride", 1), layer.attrs.get("factor", 1)
    size = tuple(-(-extent // stride) * factor for extent in shape[1:])
    return replace(layer, arrays=arrays, output_shape=(layer.output_shape[0], *size))
