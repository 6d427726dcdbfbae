"""A graph of ONNX nodes and constants in the making, and its integer tensors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from quant.contract import ACT_BITS
from triovit.errors import InternalError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Activation:
    """An integer tensor of the graph: ``real = scale * (stored - offset - zero)``."""

    #: Name of the stored tensor, int8 ``[N, C, H, W]`` or ``[N, C]``; the picture uint8.
    stored: str
    #: Without the picture's axis: ``(C, H, W)`` or ``(C,)``.
    shape: tuple[int, ...]
    #: Real value of a step.
    scale: float
    #: Zero point of the contract's ``q``, the same in all channels.
    zero: int
    #: NumPy type of the stored integers.
    dtype: type[np.integer[Any]] = np.int8
    #: What storage adds to the contract's ``q``: 128 for the picture, 0 otherwise.
    offset: int = 0

    @property
    def pixels(self) -> int:
        """Pixels of the map."""
        return math.prod(self.shape[1:])


class Graph:
    """Collects nodes and constants in the order in which they are added; every name is given once."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.activations: dict[str, Activation] = {}
        #: The real values of a tensor, read with its own zero point, by the contract's name.
        self.reals: dict[str, str] = {}

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        """Add an initializer and return its name; float64 becomes float32.

        Raises
        ------
        InternalError
            The name is taken.
        """
        if name in self.constants:
            raise InternalError(f"ONNX constant {name} is defined twice")
        values = array.astype(np.float32) if array.dtype == np.float64 else array
        self.constants[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output, which gives the node its name; return that name."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def split(self, x: str, sizes: Sequence[int], outputs: Sequence[str], axis: int) -> Sequence[str]:
        """Cut ``x`` along an axis into parts of the given sizes and names; return the names."""
        lengths = self.constant(f"{x}.sizes", np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [x, lengths], outputs, name=f"{x}.split", axis=axis))
        return outputs

    def scaled(self, name: str, array: npt.NDArray[Any], scale: Floats) -> str:
        """Add integers ``[O, ...]`` and a DequantizeLinear with scales ``[O]``, one a row; return the real values."""
        inputs = [self.constant(f"{name}.q", array), self.constant(f"{name}.scale", scale)]
        if array.dtype == np.int8:
            # Zero points of 0 could be left out, but onnxruntime 1.20 fuses Gemm wrongly then.
            inputs.append(self.constant(f"{name}.zero", np.zeros(scale.shape, np.int8)))
        return self.node("DequantizeLinear", inputs, name, axis=0)

    def affine(self, x: str, name: str, factor: Floats, offset: Floats) -> str:
        """Multiply by ``factor`` and add ``offset``, which broadcast against ``x``; float32 ones and zeros cost no node."""
        if (factor.astype(np.float32) != 1).any():
            x = self.node("Mul", [x, self.constant(f"{name}.factor", factor)], f"{name}.scaled")
        if (offset.astype(np.float32) != 0).any():
            x = self.node("Add", [x, self.constant(f"{name}.offset", offset)], f"{name}.moved")
        return x

    def quantize(self, x: str, name: str, scale: Floats | float, zero: int = 0, *, axis: int = 1) -> str:
        """Quantize the real tensor ``x`` to int8, with one scale or one for each index of ``axis``; return the stored tensor."""
        step = np.asarray(scale, np.float64)
        inputs = [x, self.constant(f"{name}.scale", step), self.constant(f"{name}.zero", np.full(step.shape, zero, np.int8))]
        return self.node("QuantizeLinear", inputs, f"{name}.q", **({"axis": axis} if step.ndim else {}))

    def requantized(self, x: str, name: str, scale: Floats, bits: int) -> str:
        """Pass the real tensor ``x`` through symmetric integers with a scale for each index of axis 1; return the real result.

        More than eight bits are rounded and clipped as real numbers: ``QuantizeLinear`` knows int16 from opset 21 on only.
        """
        if bits == ACT_BITS:
            stored = self.quantize(x, name, scale)
            return self.node("DequantizeLinear", [stored, f"{name}.scale", f"{name}.zero"], name, axis=1)
        step = self.constant(f"{name}.scale", scale.reshape(-1, 1, 1))
        steps = self.node("Round", [self.node("Div", [x, step], f"{name}.steps")], f"{name}.whole")
        ends = [
            self.constant(f"{name}.{end}", np.asarray(float(value)))
            for end, value in (("low", -1 << (bits - 1)), ("high", (1 << (bits - 1)) - 1))
        ]
        return self.node("Mul", [self.node("Clip", [steps, *ends], f"{name}.clipped"), step], name)

    def real(self, tensor: str) -> str:
        """Return the real values of an integer tensor, read with its own zero point; all readers share one node."""
        if tensor not in self.reals:
            self.reals[tensor] = self._dequantize(tensor, f"{tensor}.real", np.asarray(self.activations[tensor].zero))
        return self.reals[tensor]

    def real_from(self, tensor: str, zeros: npt.NDArray[np.integer[Any]], reader: str) -> str:
        """Return the real values of an integer tensor, read with other zero points (int8 ``[C]``, or all equal).

        ONNX surrounds a map with a real 0. So a layer whose ``pad`` is not its input's zero point takes ``pad`` for one.
        ``reader`` is that layer's name.
        """
        if (zeros == zeros.flat[0]).all():
            zeros = zeros.reshape(-1)[:1].reshape(())
        if zeros.ndim == 0 and int(zeros) == self.activations[tensor].zero:
            return self.real(tensor)
        return self._dequantize(tensor, f"{reader}.input", zeros)

    def _dequantize(self, tensor: str, name: str, zeros: npt.NDArray[np.integer[Any]]) -> str:
        found = self.activations[tensor]
        scale = self.constant(f"{name}.step", np.full(zeros.shape, found.scale))
        zero = self.constant(f"{name}.centre", (zeros + found.offset).astype(found.dtype))
        return self.node("DequantizeLinear", [found.stored, scale, zero], name, **({"axis": 1} if zeros.ndim else {}))
