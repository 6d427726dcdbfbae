"""Choosing the range that 8 bits cover.

``minmax`` covers everything. ``percentile`` leaves out the same small share at each end. ``ema`` follows each batch's
extremes with an exponential moving average. ``mse`` tries 80 ranges, from everything down to a fifth of it, and keeps the
one with the least error in the norm p = 2.4; source: the published settings of Trio-ViT (arXiv 2405.03882).
"""

import torch
from torch import Tensor

STEPS, STEP, NORM = 80, 0.01, 2.4
#: Weight of the past in the moving average.
EMA = 0.9


def rounded(values: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """Round to multiples of ``scale`` between ``low`` and ``high`` steps (float, same shape)."""
    return (values / scale).round().clamp(low, high) * scale


def search_activation(values: Tensor, low: float, high: float, *, symmetric: bool) -> tuple[float, float]:
    """Return the part of ``[low, high]`` that 255 or 256 steps serve best, by trying 80 (float ``values`` of any shape)."""
    best, best_loss = (low, high), float("inf")
    for step in range(STEPS):
        part = 1 - STEP * step
        a, b = low * part, high * part
        scale = torch.tensor(step_of(a, b, symmetric=symmetric))
        bottom, top = (-127, 127) if symmetric else (round(a / float(scale)), round(a / float(scale)) + 255)
        loss = float((rounded(values, scale, bottom, top) - values).abs().pow(NORM).mean())
        if loss < best_loss:
            best, best_loss = (a, b), loss
    return best


def step_of(low: float, high: float, *, symmetric: bool) -> float:
    """Return the real value of one step for a range; never zero."""
    return max(max(-low, high) / 127 if symmetric else (high - low) / 255, 1e-8)


def weight_scales(weight: Tensor, method: str) -> Tensor:
    """Return one scale for each row of ``weight`` (float64 ``[O, K]``), for integers in [-127, 127]."""
    largest = weight.abs().amax(1).clamp(min=1e-12) / 127
    if method == "minmax":
        return largest
    best, best_loss = largest.clone(), torch.full_like(largest, float("inf"))
    for step in range(STEPS):
        scale = largest * (1 - STEP * step)
        loss = (rounded(weight, scale[:, None], -127, 127) - weight).abs().pow(NORM).sum(1)
        better = loss < best_loss
        best, best_loss = torch.where(better, scale, best), torch.where(better, loss, best_loss)
    return best
