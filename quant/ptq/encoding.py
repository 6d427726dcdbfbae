"""How a tensor's real values become int8: ``real = scale * factors[c] * (q - zeros[c])``."""

from dataclasses import dataclass

import torch
from torch import Tensor

from quant.contract import ZERO_BITS
from quant.ptq.observe import Statistics
from quant.ptq.options import Options
from quant.ptq.ranges import search_activation, step_of

#: Values that a range search goes by, about.
_SEARCHED = 1 << 17
_ZERO_MAX = (1 << (ZERO_BITS - 1)) - 1


@dataclass(frozen=True)
class Encoding:
    """A tensor's integers. ``factors`` and ``zeros`` are float64 ``[C]``; all equal unless a remedy applies."""

    scale: float
    factors: Tensor
    zeros: Tensor
    #: ``"none"``, ``"migration"``, ``"equalization"`` or ``"shifting"``.
    remedy: str = "none"
    #: Whether its zero points must be codes, for DWConvs pad with them.
    padded: bool = False

    @property
    def own_zeros(self) -> bool:
        """Whether channels have zero points of their own."""
        return bool((self.zeros != self.zeros[0]).any())

    @property
    def zero(self) -> int:
        """The zero point that channels share, or (int8) the one in the midst of theirs."""
        return max(-128, min(127, int(self.zeros.median())))


def find_range(
    statistics: Statistics, divide: Tensor, subtract: Tensor, options: Options, *, symmetric: bool
) -> tuple[float, float]:
    """Return the range to cover of ``(x - subtract) / divide``, always with 0 in it; symmetric ranges as ``(-r, r)``."""
    ema = options.activations == "ema"
    low = float((((statistics.ema_low if ema else statistics.low) - subtract) / divide).min())
    high = float((((statistics.ema_high if ema else statistics.high) - subtract) / divide).max())
    # Whole rows, so that every channel keeps its share of the search's values.
    rows = statistics.samples[:: 1 + statistics.samples.numel() // _SEARCHED]
    values = ((rows - subtract) / divide).float()
    if options.activations == "percentile":
        ordered = values.flatten().sort().values
        edge = int((1 - options.percentile) * (len(ordered) - 1))
        low, high = float(ordered[edge]), float(ordered[len(ordered) - 1 - edge])
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    # Of a tensor without any value but 0 nothing is known: a range of about 1 suits the layers around it.
    high = max(high, low + 1e-6) if high > low else low + 1.0
    if options.activations == "mse":
        low, high = search_activation(values, low, high, symmetric=symmetric)
    return low, high


def plain(statistics: Statistics, options: Options, *, symmetric: bool) -> Encoding:
    """Encode with one scale and one zero point (0 where ``symmetric``)."""
    ones = torch.ones_like(statistics.low, dtype=torch.float64)
    return scaled(statistics, ones, options, "none", symmetric=symmetric)


def scaled(statistics: Statistics, factors: Tensor, options: Options, remedy: str, *, symmetric: bool = False) -> Encoding:
    """Encode with each channel divided by its factor; the zero point is 0 where ``symmetric``."""
    low, high = find_range(statistics, factors, torch.zeros_like(factors), options, symmetric=symmetric)
    scale = step_of(low, high, symmetric=symmetric)
    zero = 0 if symmetric else max(-128, min(127, round(-128 - low / scale)))
    return Encoding(scale, factors, torch.full_like(factors, zero), remedy)


def stepped(steps: Tensor) -> Encoding:
    """Encode with given steps (float64 ``[C]``) and zero point 0."""
    scale = float(steps.log().mean().exp())
    return Encoding(scale, steps / scale, torch.zeros_like(steps), "equalization")


def shifted(statistics: Statistics, moved: Tensor, options: Options) -> Encoding:
    """Encode with each channel moved by its own amount, so that all are centred."""
    ones = torch.ones_like(moved)
    low, high = find_range(statistics, ones, moved, options, symmetric=True)
    # The zero points hold the shifts in steps, so a step must not be too small for the largest shift.
    scale = max(step_of(low, high, symmetric=True), float(moved.abs().max()) / _ZERO_MAX)
    zeros = (-moved / scale).round().clamp(-_ZERO_MAX - 1, _ZERO_MAX)
    return Encoding(scale, ones, zeros, "shifting")
