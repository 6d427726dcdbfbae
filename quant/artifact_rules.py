"""What an artifact must satisfy: the shapes and ranges of docs/integer-contract.md, checked layer by layer."""

from typing import Any

import numpy as np
import numpy.typing as npt

from quant.contract import (
    ACC_BITS,
    ACT_BITS,
    CODE_BITS,
    CODE_WIDTHS,
    GAMMA_BITS,
    MULT_BITS,
    OUT_SHIFT_MAX,
    SHIFT_MAX,
    SUM_BITS,
    THREE_BITS,
    WEIGHT_BITS,
    Z_WIDTHS,
    ZERO_BITS,
)
from quant.layer import KINDS, OPTIONAL, Layer, Post
from quant.upsampling import FACTORS, gain
from triovit.errors import UserError

#: What the user can do about any integer that is out of its range.
REMEDY = "quantize the network again"
#: Widest attention head and longest LayerNorm vector of section 8.
MAX_DIM, MAX_NORM = 32, 4096
#: Accumulators stay below this in magnitude.
ACC_LIMIT = 1 << (ACC_BITS - 1)


def _signed(bits: int) -> tuple[int, int]:
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def _symmetric(bits: int) -> tuple[int, int]:
    return 1 - (1 << (bits - 1)), (1 << (bits - 1)) - 1


_MULT, _SHIFT = (0, (1 << MULT_BITS) - 1), (0, SHIFT_MAX)
#: Smallest and largest value of every array.
RANGES: dict[str, tuple[int, int]] = {
    "weight": _symmetric(WEIGHT_BITS),
    "pad": _signed(ACT_BITS),
    "gamma": _symmetric(GAMMA_BITS),
    "bias": _symmetric(ACC_BITS),
    "mult": _MULT,
    "shift": _SHIFT,
    "three": (0, (1 << THREE_BITS) - 1),
    "zero": _signed(ZERO_BITS),
    "z_mult": _MULT,
    "z_shift": _SHIFT,
    "k_mult": _MULT,
    "k_shift": _SHIFT,
    "o_mult": _MULT,
    "o_shift": _SHIFT,
    "div_min": (0, 26),
}


def accumulator_bound(layer: Layer, in_shapes: list[tuple[int, ...]]) -> npt.NDArray[np.int64]:
    """Largest magnitude that each accumulator of the layer can reach, bias included (int64, one an output channel or one a head).

    ``in_shapes`` are the shapes of the layer's inputs. Source: integer contract, section 1.
    """
    if layer.kind == "attention":
        pixels = in_shapes[0][1] * in_shapes[0][2]
        return np.full(layer.attrs["heads"], 127 * max(pixels * 128, layer.attrs["dim"] << (SUM_BITS - 1)), np.int64)
    bias = np.abs(layer.arrays["bias"].astype(np.int64))
    if layer.kind == "pool":
        return bias + in_shapes[0][1] * in_shapes[0][2] * 128
    if layer.kind == "upsample":
        return bias + gain(layer.attrs["factor"]) ** 2 * 128
    if layer.kind == "layernorm":
        return bias + np.abs(layer.arrays["gamma"].astype(np.int64)) * (1 << 15)
    weight = np.abs(layer.arrays["weight"].astype(np.int64))
    return bias + weight.reshape(len(weight), -1).sum(1) * 128


class LayerCheck:
    """Checks one layer; every failure is a UserError ``<file>: layer <name>: <what>; <remedy>``."""

    def __init__(self, layer: Layer, shapes: dict[str, tuple[int, ...]], file: str):
        self.layer, self.shapes, self.file = layer, shapes, file

    def fail(self, what: str, remedy: str = REMEDY) -> UserError:
        """The error to raise."""
        return UserError(f"{self.file}: layer {self.layer.name}: {what}; {remedy}")

    def run(self) -> None:
        """Check everything.

        Raises
        ------
        UserError
            The layer breaks the contract.
        """
        layer = self.layer
        if layer.kind not in KINDS:
            raise self.fail(f"kind {layer.kind!r} is unknown, and must be one of {', '.join(KINDS)}")
        if layer.name in self.shapes:
            raise self.fail("the name is used twice")
        for name in layer.inputs:
            if name not in self.shapes:
                raise self.fail(f"input {name!r} is no earlier tensor")
        if not layer.inputs or (layer.kind != "attention" and len(layer.inputs) != 1):
            raise self.fail(f"{len(layer.inputs)} inputs, and must have 1")
        self._attributes()
        in_shapes = [self.shapes[name] for name in layer.inputs]
        expected = self._expected(in_shapes)
        self._post()
        self._arrays(expected)
        bound = accumulator_bound(layer, in_shapes)
        if bound.max() >= ACC_LIMIT:
            worst = int(bound.argmax())
            where = "head" if layer.kind == "attention" else "channel"
            raise self.fail(
                f"the accumulator of {where} {worst} can reach {int(bound[worst])}, and must stay below 2^{ACC_BITS - 1}",
                "use a smaller picture or a narrower layer",
            )

    def _attributes(self) -> None:
        optional = OPTIONAL.get(self.layer.kind, {})
        wanted = {**KINDS[self.layer.kind][0], **{name: kind for name, kind in optional.items() if name in self.layer.attrs}}
        for name, kind in wanted.items():
            value = self.layer.attrs.get(name)
            if type(value) is not kind:
                raise self.fail(
                    f"attribute {name} is {value!r}, and must be {'true or false' if kind is bool else 'a whole number'}"
                )
            if isinstance(value, int) and kind is int and value < 1:
                raise self.fail(f"attribute {name} is {value}, and must be at least 1")
        for name in self.layer.attrs:
            if name not in wanted:
                raise self.fail(f"attribute {name} is unknown to kind {self.layer.kind}")
        if self.layer.attrs.get("code_bits", CODE_BITS) not in CODE_WIDTHS:
            raise self.fail(
                f"attribute code_bits is {self.layer.attrs['code_bits']}, and must be {' or '.join(map(str, CODE_WIDTHS))}"
            )
        if self.layer.attrs.get("z_bits", ACT_BITS) not in Z_WIDTHS:
            raise self.fail(f"attribute z_bits is {self.layer.attrs['z_bits']}, and must be {' or '.join(map(str, Z_WIDTHS))}")
        if self.layer.attrs.get("factor", FACTORS[0]) not in FACTORS:
            raise self.fail(f"attribute factor is {self.layer.attrs['factor']}, and must be {' or '.join(map(str, FACTORS))}")
        if self.layer.attrs.get("kernel", 1) % 2 == 0:
            raise self.fail(f"attribute kernel is {self.layer.attrs['kernel']}, and must be odd")

    def _range(self, what: str, value: Any, limits: tuple[int, int]) -> None:
        if type(value) is not int or not limits[0] <= value <= limits[1]:
            raise self.fail(f"{what} is {value!r}, and must be {limits[0]}..{limits[1]}")

    def _post(self) -> None:
        post = self.layer.post
        if self.layer.kind == "attention":
            if post is not None:
                raise self.fail("attention has no post")
            return
        if not isinstance(post, Post):
            raise self.fail("post is missing")
        if post.act not in ("none", "hardswish"):
            raise self.fail(f"act is {post.act!r}, and must be none or hardswish")
        self._range("out_shift", post.out_shift, (0, OUT_SHIFT_MAX))
        if post.residual is None:
            return
        if post.act != "none":
            raise self.fail("has a hardswish and a residual, and may have one of them")
        if self.shapes.get(post.residual.tensor) != self.layer.output_shape:
            raise self.fail(f"residual {post.residual.tensor!r} is no earlier tensor of shape {list(self.layer.output_shape)}")
        self._range("residual zero", post.residual.zero, _signed(ACT_BITS))

    def _expected(self, in_shapes: list[tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shape of every array, after checking the output's shape against the inputs'."""
        layer, attrs = self.layer, self.layer.attrs
        rank = 1 if layer.kind in ("fc", "layernorm") else 3
        for name, shape in zip(layer.inputs, in_shapes, strict=True):
            if len(shape) != rank:
                raise self.fail(f"input {name!r} has shape {list(shape)}, and must have {rank} dimension{'s' * (rank > 1)}")
        c_in, *size = in_shapes[0]
        c_out = layer.output_shape[0] if layer.output_shape else 0
        if layer.kind in ("dw", "pool", "layernorm", "upsample"):
            c_out = c_in
        elif layer.kind == "attention":
            self._heads(in_shapes)
            c_out = attrs["heads"] * attrs["dim"]
        stride = attrs.get("stride", 1)
        factor = attrs.get("factor", 1)
        expected = (c_out,) if layer.kind == "pool" else (c_out, *(-(-extent // stride) * factor for extent in size))
        if c_out < 1 or layer.output_shape != expected:
            raise self.fail(f"output_shape is {list(layer.output_shape)}, and must be {list(expected)}")
        if layer.kind == "attention":
            return dict.fromkeys(KINDS["attention"][1], (attrs["heads"],))
        if layer.kind == "layernorm" and c_in > MAX_NORM:
            raise self.fail(f"normalises {c_in} channels, and at most {MAX_NORM} are supported", "use a narrower head")
        groups, kernel = attrs.get("groups", 1), attrs.get("kernel", 1)
        if c_in % groups or c_out % groups:
            raise self.fail(f"{c_in} to {c_out} channels cannot be split into {groups} groups")
        weights = {
            "conv": (c_out, c_in, kernel, kernel),
            "pw": (c_out, c_in // groups),
            "dw": (c_out, kernel, kernel),
            "fc": (c_out, c_in),
        }
        special = {"weight": weights.get(layer.kind, ()), "pad": (c_in,)}
        return {name: special.get(name, (c_out,)) for name in KINDS[layer.kind][1]}

    def _heads(self, in_shapes: list[tuple[int, ...]]) -> None:
        heads, dim = self.layer.attrs["heads"], self.layer.attrs["dim"]
        if dim > MAX_DIM:
            raise self.fail(
                f"the head dimension is {dim}, and at most {MAX_DIM} is supported", "use a network with narrower heads"
            )
        if any(shape[1:] != in_shapes[0][1:] or shape[0] % (3 * dim) for shape in in_shapes):
            raise self.fail(
                f"inputs have shapes {[*map(list, in_shapes)]}, and must be one size with multiples of {3 * dim} channels"
            )
        total = sum(shape[0] for shape in in_shapes)
        if total != 3 * dim * heads:
            raise self.fail(f"{heads} heads of dimension {dim} need {3 * dim * heads} channels; the inputs have {total}")

    def _arrays(self, expected: dict[str, tuple[int, ...]]) -> None:
        arrays = self.layer.arrays
        for name in arrays:
            if name not in expected:
                raise self.fail(f"array {name} is unknown to kind {self.layer.kind}")
        for name, shape in expected.items():
            if name not in arrays:
                raise self.fail(f"array {name} is missing")
            array, dtype = arrays[name], np.dtype(np.int8 if name == "weight" else np.int32)
            if array.dtype != dtype:
                raise self.fail(f"array {name} is {array.dtype}, and must be {dtype}")
            if array.shape != shape:
                raise self.fail(f"array {name} has shape {list(array.shape)}, and must have {list(shape)}")
            low, high = RANGES[name]
            wrong = np.argwhere((array < low) | (array > high))
            if len(wrong):
                index = tuple(int(i) for i in wrong[0])
                raise self.fail(f"{name}{list(index)} is {int(array[index])}, and must be {low}..{high}")


def check_layers(layers: list[Layer], input_name: str, input_shape: tuple[int, ...], output: str, file: str) -> None:
    """Check a whole network of layers in execution order.

    Raises
    ------
    UserError
        The first layer that breaks docs/artifact.md or docs/integer-contract.md, prefixed with ``file``.
    """
    shapes = {input_name: input_shape}
    for layer in layers:
        LayerCheck(layer, shapes, file).run()
        shapes[layer.name] = layer.output_shape
    if output not in shapes or output == input_name:
        raise UserError(f"{file}: output {output!r} is no layer; {REMEDY}")
