"""The layer table: what a network computes, where, and how much of it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from quant.networks.layout import Operation, operations
from quant.networks.model import EfficientViT
from quant.networks.spec import NetworkSpec
from triovit.errors import UserError


@dataclass(frozen=True)
class Row:
    """One row of the layer table; the columns are those of the reference tables, and ``engine``.

    ``engine`` is ``"MAT"`` (the R-MAC engine joins in when its own work is done), ``"R-MAC"``, ``"both"``, ``"aux"``, or
    ``"host"`` for what no engine computes.
    An attention's matrix products have the matrices' inner and outer sizes as channels and the heads as groups.
    """

    layer: str
    op: str
    engine: str
    c_in: int
    c_out: int
    #: None where the operation has none.
    kernel: int | None
    stride: int | None
    groups: int | None
    h_in: int
    h_out: int
    #: ``""``, ``"hswish"``, ``"LN+hswish"`` or ``"(+res)"``.
    activation: str
    bias: bool
    batchnorm: bool
    weights: int
    macs: int
    #: Widths of the pictures in and out; equal to the heights in a square network.
    w_in: int
    w_out: int


@dataclass(frozen=True)
class LayerTable:
    """All rows of a network and their sums."""

    network: str
    resolution: tuple[int, int]
    rows: tuple[Row, ...]
    #: Trainable numbers: weights, biases, BatchNorm's and LayerNorm's factors and offsets.
    parameters: int

    @property
    def macs(self) -> int:
        """Multiplications of one picture."""
        return sum(row.macs for row in self.rows)

    @property
    def weights(self) -> int:
        """Weights of convolutions and fully connected layers."""
        return sum(row.weights for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain types, for JSON."""
        return {
            "network": self.network,
            "resolution": list(self.resolution),
            "rows": [asdict(row) for row in self.rows],
            "totals": {"parameters": self.parameters, "weights": self.weights, "macs": self.macs},
        }


def _attention_rows(op: Operation) -> Iterator[Row]:
    pixels, name, d, heads = op.size_in[0] * op.size_in[1], op.name.removesuffix("att"), op.dim, op.heads
    for part, kind, c_in, c_out, extent, macs in (
        ("KtV", "MatMul", pixels, d, d, heads * pixels * d * d),
        ("Ksum", "RowSum", pixels, d, 1, heads * pixels * d),
        ("QZ", "MatMul", d, d, pixels, heads * pixels * d * d),
        ("Qksum", "MatVec", d, 1, pixels, heads * pixels * d),
    ):
        yield Row(name + part, kind, "both", c_in, c_out, None, None, heads, extent, extent, "", False, False, 0, macs, 1, 1)


def _row(op: Operation) -> Row:
    kind = {"conv": "Conv", "dw": "DW", "pool": "Pool", "fc": "FC", "upsample": "Upsample"}.get(op.kind) or (
        "GConv" if op.groups > 1 else "PW"
    )
    # A pointwise layer behind a depthwise one is its consumer in the inter-layer pipeline, so MAT's; others have both engines.
    behind = op.inputs[0].rsplit(".", 1)[-1].startswith("dw")
    engine = {"DW": "R-MAC", "Pool": "aux", "Upsample": "host"}.get(kind) or ("MAT" if behind else "both")
    activation = "hswish" if op.hardswish else "(+res)" if op.residual else ""
    pool = op.kind == "pool"
    return Row(
        op.name,
        kind,
        engine,
        op.c_in,
        op.c_out,
        op.kernel,
        None if pool else op.stride,
        None if pool else op.groups,
        op.size_in[0],
        op.size_out[0],
        activation,
        op.bias,
        op.batchnorm,
        op.weights,
        op.macs,
        op.size_in[1],
        op.size_out[1],
    )


def _parameters(op: Operation) -> int:
    norm = 2 * op.c_out if op.batchnorm or op.kind == "layernorm" else 0
    return op.weights + norm + (op.c_out if op.bias else 0)


def layer_table(spec: NetworkSpec) -> LayerTable:
    """Return the layer table of a network."""
    rows: list[Row] = []
    ops = operations(spec)
    for op in ops:
        if op.kind == "attention":
            rows += _attention_rows(op)
        elif op.kind == "layernorm":
            # The table gives the normalisation to the layer whose output it takes.
            rows[-1] = Row(**{**asdict(rows[-1]), "activation": "LN+hswish"})
        else:
            rows.append(_row(op))
    return LayerTable(spec.name, spec.resolution, tuple(rows), sum(map(_parameters, ops)))


#: Modules that the accelerator has no unit for, why, and what to do instead.
_UNMAPPABLE: dict[type[nn.Module], tuple[str, str]] = {
    nn.MultiheadAttention: ("softmax attention needs exponentials and divisions", "use EfficientViT's linear attention"),
    nn.Softmax: ("softmax needs exponentials and divisions", "use EfficientViT's linear attention"),
    nn.GELU: ("GELU has no unit", "use hardswish and train again"),
    nn.SiLU: ("SiLU has no unit", "use hardswish and train again"),
    nn.Sigmoid: ("sigmoid has no unit", "use hardswish and train again"),
    nn.ConvTranspose2d: ("transposed convolutions have no unit", "use a classifier or a backbone"),
}


def require_mappable(network: nn.Module) -> EfficientViT:
    """Return the network if the accelerator can compute it.

    Raises
    ------
    UserError
        Names the first layer that cannot be mapped, the reason and the remedy.
    """
    if isinstance(network, EfficientViT):
        return network
    for name, module in network.named_modules():
        for kind, (why, remedy) in _UNMAPPABLE.items():
            if isinstance(module, kind):
                raise UserError(f"layer {name or type(module).__name__}: cannot be mapped: {why}; {remedy}")
    raise UserError(
        f"network {type(network).__name__}: cannot be mapped: it is no EfficientViT; load its weights with quant.checkpoints.load"
    )
