"""Weights rounded one after the other, each error made up for by those that are still real (after GPTQ, arXiv 2210.17323).

Rounded to the nearest, weights err independently of one another, whatever they multiply. Inputs that vary together allow more:
what one weight's rounding adds to the sum, the others can take away again.
"""

import torch
from torch import Tensor

#: Weights of a row that are rounded before the rest of the row learns of it; this only saves time.
_BLOCK = 64
#: Share of the mean variance that is added to every input's: what is not known of it, more where few rows were seen.
_DAMPING = 0.01


def compensated(wanted: Tensor, scales: Tensor, moments: Tensor, rows: int, top: int) -> Tensor:
    """Return integers in ``[-top, top]`` for which ``scales * integers`` gives nearly the sums that ``wanted`` gives.

    Parameters
    ----------
    wanted
        Weights, float64 ``[G, O, K]``.
    scales
        One a row, float64 ``[G, O]``.
    moments
        Mean products of the inputs, float64 ``[G, K, K]``, or their covariances where means do no harm.
    rows
        How many inputs they are the mean of.
    top
        The largest integer.
    """
    count = wanted.shape[2]
    spread = moments.diagonal(dim1=1, dim2=2)
    mean = spread.mean(1, keepdim=True)
    # Inputs that never vary can have any weight.
    damped = moments + torch.diag_embed((max(_DAMPING, count / rows) * mean).clamp(min=1e-30).expand_as(spread))
    order = spread.argsort(1, descending=True)
    ordered = damped.gather(1, order[:, :, None].expand_as(damped)).gather(2, order[:, None].expand_as(damped))
    # Row k: how the inputs after k make up for an error at k.
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(ordered)), upper=True)
    places = order[:, None].expand_as(wanted)
    left = (wanted / scales[:, :, None]).gather(2, places)
    found = torch.empty_like(left)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        errors = torch.empty_like(left[:, :, start:end])
        for k in range(start, end):
            found[:, :, k] = left[:, :, k].round().clamp(-top, top)
            errors[:, :, k - start] = (left[:, :, k] - found[:, :, k]) / upper[:, k, k, None]
            left[:, :, k + 1 : end] -= errors[:, :, k - start, None] * upper[:, k, None, k + 1 : end]
        left[:, :, end:] -= errors @ upper[:, start:end, end:]
    return torch.empty_like(found).scatter_(2, places, found)
