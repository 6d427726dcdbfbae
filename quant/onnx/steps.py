"""What a layer's integers stand for: the real steps that its post-processing implies (docs/integer-contract.md, section 3)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.contract import ACT_BITS, PRE_BITS
from quant.layer import Layer, Post
from quant.onnx.graph import Floats

T_MAX = (1 << (PRE_BITS - 1)) - 1
Q_MAX = (1 << (ACT_BITS - 1)) - 1


@dataclass(frozen=True)
class Steps:
    """Real steps of a layer's ``t`` and accumulator, float64 ``[O]`` each.

    They make ``output_scale * (q - zero)`` the layer's output. Where channel-wise migration divided the tensor by ``m_c``, this
    is the divided tensor: the next layer's weights hold ``m_c`` already, so no scale of a channel is needed after ``factor``.
    """

    #: One step of ``t``.
    t: Floats
    #: One step of the accumulator.
    acc: Floats
    #: What the activation's result is multiplied by, ``1 / m_c``.
    factor: Floats


def steps(layer: Layer, post: Post) -> Steps:
    """Return the steps of any layer but attention.

    After a hardswish ``q - zero = t * gate * 2^-out_shift``, and ``three`` steps of ``t`` are the real 3: so ``delta_c`` is
    ``3 / three``, and ``hswish(delta_c * t) = delta_c^2 * t * gate / 6`` gives the factor. Where ``three`` is what section 3
    gives for ``m_c = 1``, the exact ``delta_c`` of that section is taken and the factor is 1.
    """
    scale = layer.output_scale
    mult, shift = (layer.arrays[name].astype(np.float64) for name in ("mult", "shift"))
    ones = np.ones_like(mult)
    if layer.logits:
        t, factor = scale * ones, ones
    elif post.act == "hardswish":
        three = layer.arrays["three"].astype(np.float64)
        unmigrated = np.sqrt(6 * scale * 2.0**-post.out_shift)
        rounded = 3 / np.where(three > 0, three, 1)
        t = np.where(three == np.round(3 / unmigrated), unmigrated, rounded)
        factor = np.where(t == unmigrated, 1, 6 * scale * 2.0**-post.out_shift / t**2) * (three > 0)
    else:
        t, factor = scale * 2.0**-post.out_shift * ones, ones
    return Steps(t, t * mult * np.exp2(-shift), factor)


def saturates_visibly(layer: Layer, post: Post) -> bool:
    """Tell whether the saturation of ``t`` to 16 bits can show in ``q``, that is, bite where that of ``q`` does not.

    A residual is added in between, so there it always can. The negative end of a hardswish is 0 long before.
    """
    if post.residual is not None:
        return True
    zero = layer.arrays["zero"].astype(np.int64)
    high, low = np.full_like(zero, T_MAX), np.full_like(zero, -T_MAX - 1)
    if post.act == "hardswish":
        gate = 2 * layer.arrays["three"].astype(np.int64)
        return bool((_second(high * gate, post) + zero < Q_MAX)[gate > 0].any())
    return bool((_second(high, post) + zero < Q_MAX).any() or (_second(low, post) + zero > -Q_MAX - 1).any())


def _second(v: npt.NDArray[np.int64], post: Post) -> npt.NDArray[np.int64]:
    """``rs(v, out_shift)``."""
    return (v + (1 << post.out_shift >> 1)) >> post.out_shift
