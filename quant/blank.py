"""Networks without numbers: every layer with arrays of the right shape and nothing in them, for mapping and estimates."""

import numpy as np

from quant.artifact import Artifact
from quant.contract import CODE_WIDTHS, Z_WIDTHS
from quant.layer import POST_ARRAYS, Layer, Post, Residual
from quant.networks.layout import Operation, operations
from quant.networks.spec import NetworkSpec


def blank_artifact(spec: NetworkSpec) -> Artifact:
    """The artifact that quantizing a network of this shape would give, all weights 0 and all multipliers 1.

    It maps, compiles and is predicted like the real one; its results mean nothing.
    """
    layers = [_layer(op) for op in operations(spec)]
    network = {"name": spec.name, "resolution": list(spec.resolution), "classes": spec.classes, "task": spec.task}
    return Artifact(network=network, layers=layers, output=layers[-1].name, input_shape=(3, *spec.resolution))


def _layer(op: Operation) -> Layer:
    if op.kind == "attention":
        arrays = {name: np.ones(op.heads, np.int32) for name in ("z_mult", "k_mult", "o_mult")}
        arrays |= {name: np.zeros(op.heads, np.int32) for name in ("z_shift", "k_shift", "o_shift", "div_min")}
        return Layer(
            op.name,
            op.kind,
            op.inputs,
            op.output_shape,
            1.0,
            {"heads": op.heads, "dim": op.dim, "code_bits": max(CODE_WIDTHS), "z_bits": max(Z_WIDTHS)},
            None,
            arrays,
        )
    arrays = {name: np.full(op.c_out, name == "mult", np.int32) for name in POST_ARRAYS}
    attrs: dict[str, int | bool] = {}
    match op.kind:
        case "conv":
            attrs = {"kernel": op.kernel, "stride": op.stride}
            arrays |= {"weight": np.zeros((op.c_out, op.c_in, op.kernel, op.kernel), np.int8), "pad": np.zeros(op.c_in, np.int32)}
        case "pw":
            attrs = {"groups": op.groups}
            arrays["weight"] = np.zeros((op.c_out, op.c_in // op.groups), np.int8)
        case "dw":
            attrs = {"kernel": op.kernel, "stride": op.stride}
            arrays |= {"weight": np.zeros((op.c_out, op.kernel, op.kernel), np.int8), "pad": np.zeros(op.c_in, np.int32)}
        case "fc":
            attrs = {"logits": op.name == "head.fc2"}
            arrays["weight"] = np.zeros((op.c_out, op.c_in), np.int8)
        case "upsample":
            attrs = {"factor": op.size_out[0] // op.size_in[0]}
        case "layernorm":
            arrays["gamma"] = np.zeros(op.c_out, np.int32)
    post = Post("hardswish" if op.hardswish else "none", 0, Residual(op.residual, 0) if op.residual else None)
    return Layer(op.name, op.kind, op.inputs, op.output_shape, 1.0, attrs, post, arrays)
