"""Logits brought to another size, as torch's ``interpolate(mode="bilinear", align_corners=False)`` does."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=16)
def weights(size: int, target: int) -> NDArray[np.float32]:
    """What each of ``target`` places takes from each of ``size``: float32 ``[target, size]``, rows that sum to 1.

    Pixels are centred at half their width, and places beyond the outer centres take the outer pixel.
    """
    place = np.maximum((np.arange(target) + 0.5) * (size / target) - 0.5, 0)
    low = np.minimum(place.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = place - low
    matrix = np.zeros((target, size))
    rows = np.arange(target)
    # Added, for at the border both are the same pixel.
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, high), share)
    return np.asarray(matrix, np.float32)


def bilinear(logits: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.float32]:
    """``[C, h, w]`` of any real type at ``size`` (height, width): float32 ``[C, H, W]``.

    Both directions are products of matrices; the one that leaves fewer products to do comes first.
    """
    height, width = size
    _, h, w = logits.shape
    rows, columns = weights(h, height), weights(w, width)
    values = np.ascontiguousarray(logits, np.float32)
    if h * w * height + height * w * width <= h * w * width + h * width * height:
        return np.matmul(np.matmul(rows, values), columns.T)
    return np.matmul(rows, np.matmul(values, columns.T))
