"""LayerNorm's accumulators: docs/integer-contract.md, section 6."""

import numpy as np
from numpy.typing import NDArray

from quant.contract import GAMMA_BITS
from sim.golden import arithmetic
from sim.golden.arithmetic import Ints, Wide, require_bits, require_range

_INVERSE_ONE = 1 << 30
_INVERSE_MAX = (1 << 24) - 1
_NORM_SHIFT = 21
_NORM_BITS = 16
_CENTRED_BITS = 22
_VARIANCE_BITS = 39
_GAMMA_MAX = (1 << (GAMMA_BITS - 1)) - 1


def layernorm(x: NDArray[np.int8], gamma: Ints, *, checked: bool = True) -> Wide:
    """Normalize over channels and scale by ``gamma``.

    ``x`` is int8 ``[N, C]``, ``gamma`` int ``[C]`` in [-1023, 1023]. Returns the accumulators, int64 ``[N, C]``.

    Raises
    ------
    InternalError
        In checked mode: a gamma or an intermediate value outside its bound (sections 1 and 8).
    """
    channels = x.shape[1]
    wide = x.astype(np.int64)
    s1 = wide.sum(axis=1, keepdims=True)
    s2 = (wide * wide).sum(axis=1, keepdims=True)
    variance = channels * s2 - s1 * s1
    centred = channels * wide - s1
    if checked:
        require_range(gamma, -_GAMMA_MAX, _GAMMA_MAX, "gamma")
        require_range(variance, 0, (1 << _VARIANCE_BITS) - 1, "LayerNorm's variance")
        require_bits(centred, _CENTRED_BITS, "LayerNorm's centred input")
    deviation = np.maximum(arithmetic.isqrt(variance), 1)
    inverse = np.minimum(_INVERSE_ONE // deviation, _INVERSE_MAX)
    normal = arithmetic.sat(arithmetic.rs(centred * inverse, _NORM_SHIFT), _NORM_BITS)
    return normal * gamma.astype(np.int64)
