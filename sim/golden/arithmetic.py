"""Primitives and post-processing of docs/integer-contract.md, sections 1, 3 and 7.

Everything works element by element on NumPy integers. Intermediate values are int64: the widest is
``a * mult + 2^(s-1)`` with 43 signed bits and ``s <= SHIFT_MAX + 15 = 62``, which stays below 2^62.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quant.contract import (
    ACC_BITS,
    ACT_BITS,
    CODE_BITS,
    FRACTION_BITS,
    MULT_BITS,
    OUT_SHIFT_MAX,
    PRE_BITS,
    QUOTIENT_SHIFT,
    RECIPROCALS,
    SHIFT_MAX,
    THREE_BITS,
    ZERO_BITS,
)
from sim.golden.blocks import channel_blocks
from triovit.errors import InternalError

#: An integer array of any width.
Ints = NDArray[np.integer[Any]]
#: What the primitives compute in.
Wide = NDArray[np.int64]


def require_range(values: Ints, low: int, high: int, what: str) -> None:
    """Demand ``low <= values <= high``.

    Raises
    ------
    InternalError
        Some value lies outside; the message gives ``what`` and the range found.
    """
    if values.size == 0:
        return
    smallest, largest = int(values.min()), int(values.max())
    if smallest < low or largest > high:
        raise InternalError(f"{what} must lie in [{low}, {high}], but spans [{smallest}, {largest}]")


def require_bits(values: Ints, bits: int, what: str) -> None:
    """Demand that ``values`` fit ``bits`` signed bits.

    Raises
    ------
    InternalError
        As :func:`require_range`.
    """
    require_range(values, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, what)


def rs(v: Wide, s: Wide | int) -> Wide:
    """Rounding right shift, halves towards plus infinity (section 1).

    ``v`` is int64 with ``|v| < 2^62``, ``s`` lies in [0, 62]; both broadcast.
    """
    half = np.left_shift(np.int64(1), s) >> 1
    shifted: Wide = (v + half) >> s
    return shifted


def sat(v: Wide, bits: int) -> Wide:
    """Saturation to signed ``bits`` bits (section 1)."""
    return np.clip(v, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def relu(v: Ints) -> Ints:
    """``max(v, 0)`` in the type of ``v`` (section 1)."""
    return np.maximum(v, 0)


def msb(v: Wide) -> Wide:
    """Index of the leading one of ``0 < v < 2^53`` (section 1); zero gives -1.

    Below 2^53 the conversion to float64 is exact, so its exponent is the leading one.
    """
    _, exponent = np.frexp(v.astype(np.float64))
    top: Wide = exponent.astype(np.int64) - 1
    return top


def log2_code(divisor: Wide, div_min: Wide | int, code_bits: int = CODE_BITS) -> NDArray[np.uint16]:
    """The logarithm of attention's divisors in ``code_bits`` bits (section 7).

    ``divisor`` is int64 and not negative, ``div_min`` broadcasts against it. Returns uint16 below ``2^code_bits``,
    0 for a divisor of 0.
    """
    top = msb(divisor)
    if code_bits == CODE_BITS:
        code = top + (np.where(top > 0, divisor >> np.maximum(top - 1, 0), 0) & 1) - div_min
    else:
        fraction = np.where(divisor > 0, (divisor << FRACTION_BITS) >> np.maximum(top, 0), 0) & ((1 << FRACTION_BITS) - 1)
        code = ((top - div_min) << FRACTION_BITS) + fraction
    return np.where(divisor == 0, 0, np.clip(code, 0, (1 << code_bits) - 1)).astype(np.uint16)


def isqrt(v: Wide) -> Wide:
    """Floor of the square root of ``0 <= v < 2^50`` (section 6).

    The float64 root is correctly rounded. It cannot be rounded up to an integer ``k <= 2^25``: the nearest root below is
    ``sqrt(k^2 - 1) < k - 1/(2k)``, and 1/(2k) is at least 2^-26, far more than the spacing 2^-28 of float64 numbers there.
    """
    root: Wide = np.sqrt(v.astype(np.float64)).astype(np.int64)
    return root


def hardswish_gate(t: Wide, three: Wide) -> Wide:
    """``min(max(t + three, 0), 2 * three)``, the scaled ``relu6(x + 3)`` (section 3)."""
    gate: Wide = np.clip(t + three, 0, 2 * three)
    return gate


@dataclass(frozen=True)
class PostParameters:
    """The constants of section 3 for one layer: five arrays ``[O]`` and the layer's own.

    Raises
    ------
    InternalError
        A constant is outside its range of section 1, the arrays differ in length, or a layer has what section 3 forbids.
    """

    #: Signed 27 bits.
    bias: Ints
    #: 0 .. 65535.
    mult: Ints
    #: 0 .. 47.
    shift: Ints
    #: 0 .. 2^14 - 1: hardswish's constant, or the residual's multiplier.
    three: Ints
    #: Signed 10 bits.
    zero: Ints
    act: Literal["none", "hardswish"] = "none"
    #: 0 .. 31.
    out_shift: int = 0
    #: The residual's zero point, signed 8 bits; None without a residual.
    res_zero: int | None = None
    #: The layer stores ``t`` instead of ``q``.
    logits: bool = False

    def __post_init__(self) -> None:
        arrays = {name: getattr(self, name) for name in ("bias", "mult", "shift", "three", "zero")}
        if any(array.shape != (self.bias.size,) for array in arrays.values()):
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise InternalError(f"post arrays must be vectors of one length, got {shapes}")
        require_bits(self.bias, ACC_BITS, "bias")
        require_range(self.mult, 0, (1 << MULT_BITS) - 1, "mult")
        require_range(self.shift, 0, SHIFT_MAX, "shift")
        require_range(self.three, 0, (1 << THREE_BITS) - 1, "three")
        require_bits(self.zero, ZERO_BITS, "zero")
        require_range(np.asarray(self.out_shift), 0, OUT_SHIFT_MAX, "out_shift")
        if self.act not in ("none", "hardswish"):
            raise InternalError(f"act must be none or hardswish, got {self.act!r}")
        if self.res_zero is not None:
            require_bits(np.asarray(self.res_zero), ACT_BITS, "res_zero")
        if self.act == "hardswish" and self.res_zero is not None:
            raise InternalError("a layer has a hardswish or a residual, never both")
        if self.logits and (self.act != "none" or self.res_zero is not None):
            raise InternalError("a layer that stores logits has neither a hardswish nor a residual")

    @classmethod
    def scaling(cls, mult: Ints, shift: Ints, out_shift: int = 0) -> "PostParameters":
        """A plain requantization, as attention uses it (section 7): everything but ``mult`` and the shifts is zero."""
        nothing = np.zeros_like(mult)
        return cls(bias=nothing, mult=mult, shift=shift, three=nothing, zero=nothing, out_shift=out_shift)

    def of(self, channels: slice) -> "PostParameters":
        """The constants of some channels."""
        arrays = {name: getattr(self, name)[channels] for name in ("bias", "mult", "shift", "three", "zero")}
        return replace(self, **arrays)


def post_process(
    acc: Ints,
    post: PostParameters,
    *,
    residual: Ints | None = None,
    code: Ints | None = None,
    gate: Ints | None = None,
    checked: bool = True,
) -> NDArray[np.int8] | NDArray[np.int16]:
    """Two-step post-processing of accumulators (section 3).

    Parameters
    ----------
    acc
        ``[N, O, ...]``, any integer type; with the bias it fits ``ACC_BITS``.
    post
        Constants for ``O`` channels.
    residual
        int8, the shape of ``acc``; given if and only if ``post.res_zero`` is.
    code
        0 .. 15, ``[N, O, ...]`` that broadcasts against ``acc`` behind the channels: the whole part of the divisor's code in
        attention's quotient.
    gate
        Shaped as ``code``: what ``t`` is multiplied by, the reciprocal that the code's fraction stands for.
    checked
        Verify the range of the accumulators.

    Returns
    -------
    The shape of ``acc``; int8, or int16 for logits.

    Raises
    ------
    InternalError
        An accumulator that does not fit, or a residual that is missing, superfluous or of another shape.
    """
    if (residual is None) != (post.res_zero is None):
        raise InternalError("a residual tensor and residual constants must come together")
    if residual is not None and residual.shape != acc.shape:
        raise InternalError(f"residual has shape {residual.shape}, the accumulators {acc.shape}")
    stored = np.empty(acc.shape, np.int16 if post.logits else np.int8)
    for block in channel_blocks(acc.shape):
        stored[:, block] = _post_process_block(
            acc[:, block],
            post.of(block),
            None if residual is None else residual[:, block],
            None if code is None else code[:, block],
            None if gate is None else gate[:, block],
            checked,
        )
    return stored


def _post_process_block(
    acc: Ints, post: PostParameters, residual: Ints | None, code: Ints | None, gate: Ints | None, checked: bool
) -> Wide:
    def per_channel(values: Ints) -> Wide:
        return values.astype(np.int64).reshape(-1, *(1,) * (acc.ndim - 2))

    a = acc + per_channel(post.bias)
    if checked:
        require_bits(a, ACC_BITS, "accumulator with bias")
    shift = per_channel(post.shift)
    if code is not None:
        shift = shift + code
    t = sat(rs(a * per_channel(post.mult), shift), PRE_BITS)
    if post.logits:
        return t
    if post.act == "hardswish":
        v = t * hardswish_gate(t, per_channel(post.three))
    elif post.res_zero is not None and residual is not None:
        v = t + (residual.astype(np.int64) - post.res_zero) * per_channel(post.three)
    elif gate is not None:
        v = t * gate
    else:
        v = t
    return sat(rs(v, post.out_shift) + per_channel(post.zero), ACT_BITS)


def quotient(numerator: Ints, code: NDArray[np.uint16], mult: Ints, shift: Ints, code_bits: int, *, checked: bool = True) -> Ints:
    """Attention's quotient (section 7), int8 ``[N, heads, d, P]``.

    ``numerator`` has that shape, ``code`` is ``[N, heads, 1, P]`` of ``code_bits`` bits, ``mult`` and ``shift`` are ``[heads]``.
    """
    if code_bits == CODE_BITS:
        return post_process(numerator, PostParameters.scaling(mult, shift), code=code, checked=checked)
    gate = np.array(RECIPROCALS)[code & ((1 << FRACTION_BITS) - 1)]
    post = PostParameters.scaling(mult, shift, QUOTIENT_SHIFT)
    return post_process(numerator, post, code=code >> FRACTION_BITS, gate=gate, checked=checked)
