"""What calibration records of every tensor."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from quant import integer
from quant.data import Progress
from quant.networks.layout import Operation
from quant.networks.model import EfficientViT
from quant.ptq.graph import FloatLayer, run
from quant.ptq.moments import WEIGHTED, Moments, moments
from quant.ptq.ranges import EMA
from triovit.errors import UserError

#: Pixels kept of each picture, for quantiles and range searches.
PIXELS = 48
#: Pixels whose attention is kept of all pictures together, about, and the fewest pictures.
_ATTENTION_PIXELS, _FEWEST = 24576, 4
#: Pictures that run at once.
BATCH = 8


@dataclass
class Statistics:
    """One tensor's values over the calibration pictures, one entry a channel (float32 ``[C]``)."""

    low: Tensor
    high: Tensor
    #: Moving averages of each batch's extremes.
    ema_low: Tensor
    ema_high: Tensor
    #: Sum over all values, and their number.
    total: Tensor
    count: int
    #: Largest magnitudes before a residual is added.
    branch: Tensor
    #: Pixels drawn from every picture, ``[rows, C]``.
    rows: list[Tensor] = field(default_factory=list)
    #: The extremes of every picture, ``[N, C]``.
    lows: list[Tensor] = field(default_factory=list)
    highs: list[Tensor] = field(default_factory=list)

    @property
    def mean(self) -> Tensor:
        """Mean of each channel."""
        return self.total / self.count

    @property
    def samples(self) -> Tensor:
        """All drawn pixels, ``[rows, C]``."""
        if len(self.rows) > 1:
            self.rows = [torch.cat(self.rows)]
        return self.rows[0]

    def others(self) -> tuple[Tensor, Tensor]:
        """For every picture the lowest and highest values of all others, ``[N, C]`` (its own where there is no other)."""
        return -_highest_of_others(-torch.cat(self.lows)), _highest_of_others(torch.cat(self.highs))


def _highest_of_others(values: Tensor) -> Tensor:
    if len(values) == 1:
        return values
    (first, second), (place, _) = values.topk(2, dim=0)
    return torch.where(torch.arange(len(values))[:, None] == place, second, first)


@dataclass(frozen=True)
class Sums:
    """Magnitudes of attention's sums over the pixels, in each picture; float32."""

    #: Of K^T V, ``[N, heads, d, d]``.
    z: Tensor
    #: Of the keys, ``[N, heads, d]``.
    ksum: Tensor


@dataclass
class Observations:
    """Statistics of every layer's output, and of attentions' inputs the first pictures (``[N, 3*d*H, h, w]``) and all sums.

    Tensors are by name.
    """

    statistics: dict[str, Statistics] = field(default_factory=dict)
    attention: dict[str, Tensor] = field(default_factory=dict)
    #: What the float network adds to attention's divisors.
    attention_eps: float = 1e-15
    sums: dict[str, Sums] = field(default_factory=dict)
    #: Of every layer with weights, where they were asked for.
    moments: dict[str, Moments] = field(default_factory=dict)


def observe(
    network: EfficientViT,
    layers: list[FloatLayer],
    pictures: Tensor,
    attention_pictures: int,
    progress: Progress | None = None,
    *,
    with_moments: bool = True,
) -> Observations:
    """Run the float network on uint8 pictures ``[N, 3, H, W]`` and record what quantization needs, the same each time.

    Second moments are recorded only ``with_moments``: they take most of the time.

    Raises
    ------
    UserError
        A weight or an activation that is not finite; names the first such layer and channel.
    """
    _require_finite_weights(layers)
    found, kept = (
        Observations(attention_eps=network.spec.attention_eps),
        {name: layer.op.dim for layer in layers if layer.op.kind == "attention" for name in layer.op.inputs},
    )
    generator = torch.Generator().manual_seed(0)
    parts: dict[str, list[Tensor]] = {name: [] for name in kept}
    sums: dict[str, list[Sums]] = {name: [] for name in kept}
    readers: dict[str, list[Operation]] = {}
    for layer in layers:
        if with_moments and layer.op.kind in WEIGHTED:
            readers.setdefault(layer.op.inputs[0], []).append(layer.op)
    done = 0

    def multiplied(name: str, x: Tensor) -> None:
        for op in readers.get(name, []):
            now = moments(op, x, generator)
            found.moments[op.name] = found.moments[op.name] + now if op.name in found.moments else now

    def visit(layer: FloatLayer, output: Tensor, branch: Tensor) -> None:
        name, flat = layer.op.name, output.reshape(*output.shape[:2], -1)
        lows, highs = flat.amin(2), flat.amax(2)
        low, high = lows.amin(0), highs.amax(0)
        if len(strange := (~(low.isfinite() & high.isfinite())).nonzero()):
            raise UserError(
                f"layer {name}: its output is not finite on the calibration pictures, first in channel {int(strange[0])}; "
                "check the weights and the pictures"
            )
        chosen = torch.randint(flat.shape[2], (min(PIXELS, flat.shape[2]),), generator=generator)
        rows = flat[:, :, chosen].transpose(1, 2).reshape(-1, flat.shape[1])
        total, count, top = (
            flat.double().sum((0, 2)),
            flat.shape[0] * flat.shape[2],
            branch.reshape(flat.shape).abs().amax((0, 2)),
        )
        if name not in found.statistics:
            found.statistics[name] = Statistics(low, high, low, high, total, count, top, [rows], [lows], [highs])
        else:
            s = found.statistics[name]
            s.low, s.high = torch.minimum(s.low, low), torch.maximum(s.high, high)
            s.ema_low, s.ema_high = EMA * s.ema_low + (1 - EMA) * low, EMA * s.ema_high + (1 - EMA) * high
            s.total, s.count, s.branch = s.total + total, s.count + count, torch.maximum(s.branch, top)
            s.rows.append(rows)
            s.lows.append(lows)
            s.highs.append(highs)
        multiplied(name, output)
        if name in kept:
            sums[name].append(_sums(output, kept[name]))
            limit = min(attention_pictures, max(_FEWEST, _ATTENTION_PIXELS // flat.shape[2]))
            if done < limit:
                parts[name].append(output[: limit - done].clone())

    for batch in pictures.split(BATCH):
        multiplied("image", network.normalise(batch))
        run(network, layers, batch, visit)
        done += len(batch)
        if progress:
            progress("calibrating", done, len(pictures))
    found.attention = {name: torch.cat(part) for name, part in parts.items()}
    found.sums = {
        name: Sums(torch.cat([one.z for one in part]), torch.cat([one.ksum for one in part])) for name, part in sums.items()
    }
    return found


def _sums(qkv: Tensor, dim: int) -> Sums:
    _, k, v = integer.split_heads([qkv], dim)
    return Sums((k @ v.transpose(-1, -2)).abs(), k.sum(-1))


def _require_finite_weights(layers: list[FloatLayer]) -> None:
    for layer in layers:
        by_channel = layer.bias.isfinite()
        if layer.weight.numel():
            by_channel = by_channel & layer.weight.reshape(len(by_channel), -1).isfinite().all(1)
        if not by_channel.all():
            raise UserError(
                f"layer {layer.op.name}: channel {int(by_channel.int().argmin())} has weights that are not finite, BatchNorm "
                "folded in; check the weights and BatchNorm's variances"
            )
