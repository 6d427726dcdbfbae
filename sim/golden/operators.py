"""Accumulators of convolutions, fully connected layers, pooling and upsampling: docs/integer-contract.md.

Inputs are int8 batches ``[N, C, H, W]`` (or ``[N, C]``), weights int8; results are int64 accumulators without bias.

Products of matrices go through floating-point BLAS, which is exact here. A sum of integers whose absolute values add up to at
most 2^24 (float32) or 2^53 (float64) never leaves the range in which every integer is a floating-point number, whatever the
order of the additions and whether or not they are fused with the multiplications. The bound comes from the weights, not from
the data, and section 1 keeps it below 2^26.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant.upsampling import phase
from sim.golden.arithmetic import Ints, Wide, require_bits
from sim.golden.blocks import channel_blocks
from triovit.errors import InternalError

_FLOAT32_EXACT = 1 << 24
_FLOAT64_EXACT = 1 << 53
_ACT_MAGNITUDE = 128


def matmul(left: Ints, right: Ints, bound: int) -> Wide:
    """Exact ``left @ right``, batched, int64.

    ``bound`` is the largest sum of absolute products in any element of the result.

    Raises
    ------
    InternalError
        ``bound`` exceeds 2^53, where float64 stops being exact.
    """
    if bound > _FLOAT64_EXACT:
        raise InternalError(f"a sum of products up to {bound} is not exact in float64")
    dtype: Any = np.float32 if bound <= _FLOAT32_EXACT else np.float64
    product: Wide = np.matmul(left.astype(dtype), right.astype(dtype)).astype(np.int64)
    return product


def _weight_bound(rows: Ints) -> int:
    """Largest possible magnitude of ``rows @ x`` for int8 ``x``; ``rows`` is ``[..., K]``."""
    return int(np.abs(rows.astype(np.int64)).sum(axis=-1).max()) * _ACT_MAGNITUDE


def pad_map(x: NDArray[np.int8], margin: int, pad: Ints) -> NDArray[np.int8]:
    """Surround every channel's map with ``margin`` pixels of its own value.

    ``x`` is ``[N, C, H, W]``, ``pad`` int ``[C]`` with values of int8.

    Raises
    ------
    InternalError
        A pad value that is not an int8.
    """
    require_bits(pad, 8, "pad")
    batch, channels, height, width = x.shape
    padded = np.empty((batch, channels, height + 2 * margin, width + 2 * margin), np.int8)
    padded[:] = pad.astype(np.int8)[:, None, None]
    padded[:, :, margin : margin + height, margin : margin + width] = x
    return padded


def output_extent(extent: int, stride: int) -> int:
    """``ceil(extent / stride)`` (section 4)."""
    return -(-extent // stride)


def tap(padded: Ints, ky: int, kx: int, stride: int, height: int, width: int) -> Ints:
    """The pixels that kernel position ``(ky, kx)`` meets, ``[..., height, width]``: a view of the padded map."""
    rows = slice(ky, ky + (height - 1) * stride + 1, stride)
    columns = slice(kx, kx + (width - 1) * stride + 1, stride)
    return padded[..., rows, columns]


def conv(x: NDArray[np.int8], weight: NDArray[np.int8], pad: Ints, stride: int) -> Wide:
    """Convolution, k x k, with padding k // 2 (section 4, ``conv``).

    ``x`` is ``[N, I, H, W]``, ``weight`` ``[O, I, k, k]``, ``pad`` ``[I]``.
    Returns ``[N, O, ceil(H / stride), ceil(W / stride)]``.
    """
    batch, inputs, *extents = x.shape
    outputs, kernel = weight.shape[0], weight.shape[-1]
    height, width = (output_extent(extent, stride) for extent in extents)
    padded = pad_map(x, kernel // 2, pad)
    columns = np.empty((batch, inputs, kernel, kernel, height, width), np.int8)
    for ky in range(kernel):
        for kx in range(kernel):
            columns[:, :, ky, kx] = tap(padded, ky, kx, stride, height, width)
    rows = weight.reshape(outputs, -1)
    acc = matmul(rows, columns.reshape(batch, rows.shape[1], height * width), _weight_bound(rows))
    return acc.reshape(batch, outputs, height, width)


def pw(x: NDArray[np.int8], weight: NDArray[np.int8], groups: int = 1) -> Wide:
    """1 x 1 convolution in ``groups`` groups of channels (section 4, ``pw``).

    ``x`` is ``[N, I, H, W]``, ``weight`` ``[O, I / groups]``. Returns ``[N, O, H, W]``.
    """
    batch, _, height, width = x.shape
    outputs, per_group = weight.shape
    rows = weight.reshape(groups, outputs // groups, per_group)
    acc = matmul(rows, x.reshape(batch, groups, per_group, height * width), _weight_bound(rows))
    return acc.reshape(batch, outputs, height, width)


def dw(x: NDArray[np.int8], weight: NDArray[np.int8], pad: Ints, stride: int) -> Wide:
    """Depthwise convolution, k x k, with padding k // 2 (section 4, ``dw``).

    ``x`` is ``[N, C, H, W]``, ``weight`` ``[C, k, k]``, ``pad`` ``[C]``.
    Returns ``[N, C, ceil(H / stride), ceil(W / stride)]``.
    Sums in int32: 27 bits suffice.
    """
    batch, channels, *extents = x.shape
    kernel = weight.shape[-1]
    height, width = (output_extent(extent, stride) for extent in extents)
    padded = pad_map(x, kernel // 2, pad)
    factors = weight.astype(np.int32)[..., None, None]
    acc = np.zeros((batch, channels, height, width), np.int64)
    for block in channel_blocks(acc.shape):
        source = padded[:, block].astype(np.int32)
        total = np.zeros((batch, source.shape[1], height, width), np.int32)
        for ky in range(kernel):
            for kx in range(kernel):
                total += tap(source, ky, kx, stride, height, width) * factors[block, ky, kx]
        acc[:, block] = total
    return acc


def fc(x: NDArray[np.int8], weight: NDArray[np.int8]) -> Wide:
    """Fully connected layer (section 4, ``fc``): ``x`` ``[N, I]``, ``weight`` ``[O, I]``; returns ``[N, O]``."""
    return matmul(x, weight.T, _weight_bound(weight))


def pool(x: NDArray[np.int8]) -> Wide:
    """Sum over all pixels (section 5): ``x`` is ``[N, C, H, W]``; returns ``[N, C]``."""
    acc: Wide = x.sum(axis=(2, 3), dtype=np.int64)
    return acc


def upsample(x: NDArray[np.int8], factor: int) -> Wide:
    """Bicubic enlargement (section 9): ``x`` is ``[N, C, H, W]``; returns ``[N, C, factor * H, factor * W]``.

    Each output pixel takes 4 x 4 input pixels, so that the sums are made tap by tap along one axis, then along the other.
    """
    return _enlarge(_enlarge(x.astype(np.int32), factor, 2), factor, 3).astype(np.int64)


def _enlarge(x: NDArray[np.int32], factor: int, axis: int) -> NDArray[np.int32]:
    extent = x.shape[axis]
    enlarged = np.empty((*x.shape[:axis], factor * extent, *x.shape[axis + 1 :]), np.int32)
    for place in range(factor):
        first, coefficients = phase(factor, place)
        total = np.zeros_like(x)
        for tap, coefficient in enumerate(coefficients):
            pixels = np.clip(np.arange(extent) + first + tap, 0, extent - 1)
            total += coefficient * x.take(pixels, axis)
        enlarged[(*(slice(None),) * axis, slice(place, None, factor))] = total
    return enlarged
