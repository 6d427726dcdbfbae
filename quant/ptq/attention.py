"""The integers of linear attention (contract, section 7): the scales of Z and Ks, the divisors' window, the quotient's factor."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quant import integer
from quant.contract import ACT_BITS, CODE_BITS, FRACTION_BITS, QUOTIENT_SHIFT, RECIPROCAL_BITS, RECIPROCALS, SUM_BITS
from quant.networks.layout import Operation
from quant.networks.model import linear_attention
from quant.ptq.encoding import Encoding
from quant.ptq.fixed_point import fixed_point
from quant.ptq.observe import Observations
from quant.ptq.options import Options

_CODES = 1 << CODE_BITS
#: No divisor's exponent exceeds this: D < 2^26.
_EXPONENT_MAX = 26
#: How far pictures may exceed what calibration saw: K^T V where it is wide, and the sums of keys.
_HEADROOM = 2.0


def _steps(encoding: Encoding) -> Tensor:
    return encoding.scale * encoding.factors


def _sum_factors(op: Operation, seen: Observations, encodings: list[Encoding], options: Options) -> tuple[Tensor, Tensor]:
    """What each head's accumulators of Z and of Ks are multiplied by (float64 ``[heads]``), from the sums of every picture.

    Sums grow with the whole picture, and one that saturates spoils all of its head's pixels: nothing seen is cut off, and where
    there are bits for it more is expected.
    """
    found = [seen.sums[name] for name in op.inputs]
    steps = torch.cat([_steps(e).reshape(-1, 3, op.dim) for e in encodings])
    k_step, v_step = steps[:, 1], steps[:, 2]
    z = torch.cat([one.z for one in found], 1).double() / (k_step[:, :, None] * v_step[:, None])
    k = torch.cat([one.ksum for one in found], 1).double() / k_step
    tops = [values.transpose(0, 1).flatten(1).amax(1).clamp(min=1) for values in (z, k)]
    headroom = _HEADROOM if options.z_bits > ACT_BITS else 1.0
    z_top, k_top = (((1 << (bits - 1)) - 1) for bits in (options.z_bits, SUM_BITS))
    return z_top / headroom / tops[0], k_top / _HEADROOM / tops[1]


def _inverse(code: Tensor, div_min: Tensor, code_bits: int) -> Tensor:
    """What a code stands for, float64: the inverse of the divisor."""
    least = div_min.reshape(1, -1, 1)
    if code_bits == CODE_BITS:
        return torch.exp2(-(code + least).double())
    reciprocal = torch.tensor(RECIPROCALS, dtype=torch.float64)[code & ((1 << FRACTION_BITS) - 1)]
    return reciprocal * torch.exp2(-((code >> FRACTION_BITS) + least + RECIPROCAL_BITS).double())


def attention_arrays(
    op: Operation, seen: Observations, encodings: list[Encoding], output: Encoding, options: Options
) -> tuple[dict[str, npt.NDArray[np.int32]], dict[str, list[float]]]:
    """Choose an attention layer's arrays from what was seen of it and its inputs' encodings (zero point 0).

    ``div_min`` makes the 16 codes end where the largest divisor can be met, with one spare. The quotient's factor is
    fitted to the float result, head by head, because rounding the divisor's logarithm at 1.5 instead of the root of 2
    makes it too small on average.

    Returns
    -------
    tuple
        The arrays int32 ``[heads]``, and each head's range of exponents for the report.
    """
    qkv = [seen.attention[name] for name in op.inputs]
    ints = [integer.sat((x.double() / _steps(e)[:, None, None]).round().long(), 8) for x, e in zip(qkv, encodings, strict=True)]
    q, k, v = integer.split_heads(ints, op.dim)
    # The real step of each v_j, and of each channel of the output: of a head they differ by one factor.
    value_step = torch.cat([_steps(e).reshape(-1, 3, op.dim)[:, 2] for e in encodings])
    step = (value_step / _steps(output).reshape(-1, op.dim))[:, 0]
    z_factor, k_factor = _sum_factors(op, seen, encodings, options)
    z_mult, z_shift = fixed_point(z_factor.numpy(), f"{op.name}.z")
    k_mult, k_shift = fixed_point(k_factor.numpy(), f"{op.name}.ksum")
    as_tensors = [torch.from_numpy(a.astype(np.int64)) for a in (z_mult, z_shift, k_mult, k_shift)]
    z, ksum = integer.attention_sums(k, v, (as_tensors[0], as_tensors[1]), (as_tensors[2], as_tensors[3]), options.z_bits)
    divisor = integer.product(ksum[:, :, None], q)[:, :, 0]
    exponent = integer.divisor_exponent(divisor)
    top = exponent.amax((0, 2))
    low = torch.where(divisor > 0, exponent, _EXPONENT_MAX).amin((0, 2)).minimum(top)
    if options.log2_divisors:
        # A whole code is rounded and may be one more; a code with a fraction reaches half a step below the next whole one.
        div_min = ((top + 1).clamp(max=_EXPONENT_MAX) - (_CODES - 1)).clamp(min=0)
    else:
        div_min = torch.full_like(top, _EXPONENT_MAX)
    code = integer.divisor_code(divisor, div_min, options.code_bits)
    ratio = k_factor / z_factor
    numerator = integer.product(z.transpose(-1, -2), q).double()
    quotient = numerator * ratio.reshape(1, -1, 1, 1) * _inverse(code, div_min, options.code_bits)[:, :, None]
    exact = torch.cat(
        [linear_attention(x, op.dim, seen.attention_eps).reshape(x.shape[0], -1, op.dim, q.shape[-1]) for x in qkv], 1
    ).double()
    exact = exact / value_step[None, :, :, None]
    fit = (quotient * exact).sum((0, 2, 3)) / quotient.square().sum((0, 2, 3)).clamp(min=1e-30)
    fit = torch.where(fit > 0, fit, 1.0)
    factor = fit * step * ratio * torch.exp2(-div_min.double())
    if options.code_bits > CODE_BITS:
        # The second step multiplies by what stands for 1 or less, and shifts.
        factor = factor * 2.0 ** (QUOTIENT_SHIFT - RECIPROCAL_BITS)
    o_mult, o_shift = fixed_point(factor.numpy(), op.name)
    arrays = {
        "z_mult": z_mult,
        "z_shift": z_shift,
        "k_mult": k_mult,
        "k_shift": k_shift,
        "o_mult": o_mult,
        "o_shift": o_shift,
        "div_min": div_min.numpy().astype(np.int32),
    }
    return arrays, {"exponent_low": low.tolist(), "exponent_high": top.tolist(), "quotient_fit": fit.tolist()}
