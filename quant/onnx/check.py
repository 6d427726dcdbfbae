"""How far an ONNX file, run by onnxruntime, is from the integers that it stands for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper

from quant.artifact import Artifact
from quant.data import Pictures
from quant.layer import Layer
from quant.onnx.model import OUTPUT, to_bytes
from triovit.progress import Progress, silent

_STAGE, _BATCH = "onnxruntime", 8
_ERRORS_ONLY = 3

#: Integer tensors by the contract's name, the picture as first axis.
Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class LayerDifference:
    """A layer's tensor in onnxruntime less the contract's, over all pictures, in steps of the tensor."""

    layer: str
    #: Mean absolute difference where the layer is given the contract's inputs: the layer's own rounding.
    alone: float
    #: The largest one of those.
    alone_worst: float
    #: Share of equal values among those.
    alone_equal: float
    #: Mean absolute difference in the network: what the layers before it did included.
    together: float


@dataclass(frozen=True)
class Check:
    """An ONNX network beside the integer network on the same pictures."""

    images: int
    #: Share of pictures (of pixels, where the output is a map) with the largest logit in the same class; None without logits.
    agreement: float | None
    #: Mean absolute difference of the output in its steps, and the largest.
    mean_difference: float
    worst_difference: float
    #: In execution order.
    layers: list[LayerDifference]


class _Sum:
    """Absolute differences, summed over batches."""

    def __init__(self) -> None:
        self.count, self.total, self.worst, self.equal = 0, 0.0, 0.0, 0

    def add(self, difference: npt.NDArray[np.float64]) -> None:
        size = np.abs(difference)
        self.count += size.size
        self.total += float(size.sum())
        self.worst = max(self.worst, float(size.max()))
        self.equal += int((size == 0).sum())

    @property
    def mean(self) -> float:
        return self.total / self.count


def check(
    model: onnx.ModelProto,
    artifact: Artifact,
    expected: Callable[[Pictures], Tensors],
    pictures: Pictures,
    progress: Progress = silent,
) -> Check:
    """Run ``model`` in onnxruntime on its CPU provider and compare it with ``expected``.

    Parameters
    ----------
    model
        What :func:`quant.onnx.model.to_onnx` made of ``artifact``.
    expected
        Gives the integers of every layer for some pictures: the golden model.
    pictures
        uint8 ``[N, 3, H, W]`` of the network's size, at least one.
    progress
        Called as ``progress("onnxruntime", pictures done, pictures)``.
    """
    layers = [layer.name for layer in artifact.layers]
    source, last = artifact.input_name, artifact.layer(artifact.output)
    outputs = [f"{name}.q" for name in layers]
    written, network, alone = (_session(made) for made in (model, _with_outputs(model, outputs), _cut(model, artifact)))
    inputs = [given.name for given in alone.get_inputs()]
    sums = {name: (_Sum(), _Sum()) for name in layers}
    final, agreed, decisions = _Sum(), 0, 0
    zeros = _zeros(last)
    progress(_STAGE, 0, len(pictures))
    for first in range(0, len(pictures), _BATCH):
        part = pictures[first : first + _BATCH]
        right = expected(part)
        stored = {source: part, **{f"{name}.q": right[name] for name in layers}}
        # The logits' int16 stand as float in the model.
        given = {name: stored[name].astype(np.float32) if stored[name].dtype == np.int16 else stored[name] for name in inputs}
        for name, single, joint in zip(
            layers, alone.run([f"{name}.made" for name in outputs], given), network.run(outputs, {source: part}), strict=True
        ):
            sums[name][0].add(single - right[name].astype(np.float64))
            sums[name][1].add(joint - right[name].astype(np.float64))
        (found,) = written.run([OUTPUT], {source: part})
        wanted = right[artifact.output].astype(np.float64) - zeros
        final.add(found / last.output_scale - wanted)
        agreed += int((found.argmax(1) == wanted.argmax(1)).sum())
        decisions += wanted.argmax(1).size
        progress(_STAGE, first + len(part), len(pictures))
    return Check(
        images=len(pictures),
        agreement=agreed / decisions if last.logits else None,
        mean_difference=final.mean,
        worst_difference=final.worst,
        layers=[
            LayerDifference(name, single.mean, single.worst, single.equal / single.count, joint.mean)
            for name, (single, joint) in sums.items()
        ],
    )


def _zeros(layer: Layer) -> npt.NDArray[np.int64]:
    """The zero points of a layer's tensor, shaped to broadcast against it; logits and attention have none."""
    zeros = np.zeros(1, np.int64) if layer.logits or layer.post is None else layer.arrays["zero"].astype(np.int64)
    return zeros.reshape(-1, *(1,) * (len(layer.output_shape) - 1))


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every stored tensor: int8 behind QuantizeLinear, float for logits."""
    kinds = {node.output[0]: node.op_type for node in model.graph.node}
    return {name: TensorProto.INT8 if kind == "QuantizeLinear" else TensorProto.FLOAT for name, kind in kinds.items()}


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model with more of its tensors as outputs."""
    made, types = onnx.ModelProto(), _types(model)
    made.CopyFrom(model)
    made.graph.output.extend(helper.make_tensor_value_info(name, types[name], None) for name in names)
    return made


def _cut(model: onnx.ModelProto, artifact: Artifact) -> onnx.ModelProto:
    """The model cut behind every layer: ``<layer>.q`` is an input, and ``<layer>.q.made``, what the layer makes, an output."""
    made, types = onnx.ModelProto(), _types(model)
    made.CopyFrom(model)
    cut = {f"{layer.name}.q": layer for layer in artifact.layers}
    read = {name for node in made.graph.node for name in node.input}
    for node in made.graph.node:
        if node.output[0] in cut:
            node.output[0] = f"{node.output[0]}.made"
    made.graph.input.extend(
        helper.make_tensor_value_info(name, types[name], ["pictures", *layer.output_shape])
        for name, layer in cut.items()
        if name in read
    )
    made.graph.ClearField("output")
    made.graph.output.extend(helper.make_tensor_value_info(f"{name}.made", types[name], None) for name in cut)
    return made
