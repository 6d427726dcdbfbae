"""Softmax-free linear attention: docs/integer-contract.md, section 7."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quant.contract import ACC_BITS, ACT_BITS, CODE_BITS, SUM_BITS
from sim.golden import arithmetic
from sim.golden.arithmetic import Ints, PostParameters, post_process, require_range
from sim.golden.operators import matmul
from triovit.errors import InternalError

_ACT_MAX = (1 << (ACT_BITS - 1)) - 1
_ACT_MAGNITUDE = 1 << (ACT_BITS - 1)
_DIVISOR_BITS = 26


@dataclass(frozen=True)
class AttentionParameters:
    """Constants of one attention layer, each an integer array ``[heads]`` over the heads of all inputs.

    Multipliers lie in 0 .. 65535, shifts in 0 .. 47; ``div_min`` is what code 0 stands for.
    """

    dim: int
    z_mult: Ints
    z_shift: Ints
    k_mult: Ints
    k_shift: Ints
    o_mult: Ints
    o_shift: Ints
    div_min: Ints
    #: Bits of the divisors' codes, one of ``CODE_WIDTHS``.
    code_bits: int = CODE_BITS
    #: Bits of Z, one of ``Z_WIDTHS``.
    z_bits: int = ACT_BITS


@dataclass(frozen=True)
class AttentionResult:
    """What attention computes, intermediate tensors included."""

    #: int16 ``[N, heads, d, d]``, of ``z_bits``: relu(K)^T V.
    z: NDArray[np.int16]
    #: int16 ``[N, heads, d]`` of ``SUM_BITS``, never negative: the sums of relu(K).
    ksum: NDArray[np.int16]
    #: uint16 ``[N, heads, P]`` below ``2^code_bits``: the divisors' codes.
    code: NDArray[np.uint16]
    #: int8 ``[N, heads * d, H, W]``.
    output: NDArray[np.int8]


def _sums(acc: Ints, mult: Ints, shift: Ints, bits: int, *, checked: bool) -> NDArray[np.int16]:
    """Accumulators ``[N, heads, ...]`` requantized to so many bits."""
    wide = post_process(acc, replace(PostParameters.scaling(mult, shift), logits=True), checked=checked)
    return arithmetic.sat(wide.astype(np.int64), bits).astype(np.int16)


def split_heads(tensor: NDArray[np.int8], dim: int) -> NDArray[np.int8]:
    """``[N, 3 * d * heads, H, W]`` as ``[N, heads, 3, d, P]``; the third axis is q, k, v.

    Raises
    ------
    InternalError
        The channels are not whole heads.
    """
    batch, channels, height, width = tensor.shape
    if channels % (3 * dim):
        raise InternalError(f"{channels} channels are not whole heads of 3 x {dim}")
    return tensor.reshape(batch, channels // (3 * dim), 3, dim, height * width)


def attention(inputs: Sequence[NDArray[np.int8]], parameters: AttentionParameters, *, checked: bool = True) -> AttentionResult:
    """Linear attention over the heads of all ``inputs`` in turn.

    ``inputs`` are int8 ``[N, 3 * d * heads_i, H, W]`` with zero point 0, of one map size.

    Raises
    ------
    InternalError
        Channels that are not whole heads; in checked mode also a map or a head too large for the accumulators and a divisor of
        more than 26 bits (sections 1 and 8).
    """
    batch, _, height, width = inputs[0].shape
    dim, pixels = parameters.dim, height * width
    query, key, value = np.moveaxis(np.concatenate([split_heads(x, dim) for x in inputs], axis=1), 2, 0)
    query, key = arithmetic.relu(query), arithmetic.relu(key)
    if checked:
        limit = (1 << (ACC_BITS - 1)) - 1
        largest = _ACT_MAX * max(pixels * _ACT_MAGNITUDE, dim << (SUM_BITS - 1))
        require_range(np.asarray(largest), 0, limit, "attention's largest accumulator")

    z = _sums(
        matmul(key, np.swapaxes(value, 2, 3), pixels * _ACT_MAX * _ACT_MAGNITUDE),
        parameters.z_mult,
        parameters.z_shift,
        parameters.z_bits,
        checked=checked,
    )
    ksum = _sums(key.sum(axis=3, dtype=np.int64), parameters.k_mult, parameters.k_shift, SUM_BITS, checked=checked)
    row = dim * _ACT_MAX << (SUM_BITS - 1)
    divisor = matmul(ksum[:, :, None, :], query, row)
    if checked:
        require_range(divisor, 0, (1 << _DIVISOR_BITS) - 1, "attention's divisor")
    code = arithmetic.log2_code(divisor, parameters.div_min.astype(np.int64)[:, None, None], parameters.code_bits)
    numerator = matmul(np.swapaxes(z, 2, 3), query, row)
    quotient = arithmetic.quotient(numerator, code, parameters.o_mult, parameters.o_shift, parameters.code_bits, checked=checked)
    heads = quotient.shape[1]
    return AttentionResult(
        z=z,
        ksum=ksum,
        code=code[:, :, 0],
        output=quotient.astype(np.int8).reshape(batch, heads * dim, height, width),
    )
