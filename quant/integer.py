"""The arithmetic of docs/integer-contract.md on torch int64 tensors; the first axis counts pictures."""

import torch
from torch import Tensor
from torch.nn import functional

from quant.contract import ACT_BITS, CODE_BITS, FRACTION_BITS, PRE_BITS, QUOTIENT_SHIFT, RECIPROCALS, SUM_BITS
from quant.layer import Post
from quant.upsampling import matrix


def rs(value: Tensor, shift: Tensor | int) -> Tensor:
    """Shift right by ``shift`` bits, rounding halves up (section 1)."""
    shift = torch.as_tensor(shift, dtype=torch.int64)
    half = torch.where(shift > 0, torch.ones_like(shift) << (shift - 1).clamp(min=0), torch.zeros_like(shift))
    return (value + half) >> shift


def sat(value: Tensor, bits: int) -> Tensor:
    """Saturate to signed ``bits`` bits (section 1)."""
    return value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def msb(value: Tensor) -> Tensor:
    """Index of the leading one of positive values below 2^53; -1 for zero (section 1)."""
    return torch.frexp(value.double()).exponent.long() - 1


def isqrt(value: Tensor) -> Tensor:
    """Floor of the square root of values below 2^52."""
    root = value.double().sqrt().long()
    root = root - (root * root > value).long()
    return root + ((root + 1) * (root + 1) <= value).long()


def first_step(acc: Tensor, bias: Tensor | int, mult: Tensor, shift: Tensor) -> Tensor:
    """Compute ``t`` of section 3 (int64, 16 bits signed)."""
    return sat(rs((acc + bias) * mult, shift), PRE_BITS)


def second_step(t: Tensor, post: Post, three: Tensor, zero: Tensor, residual: Tensor | None) -> Tensor:
    """Compute ``q`` of section 3 from ``t`` (int64, 8 bits signed)."""
    if post.act == "hardswish":
        t = t * torch.minimum((t + three).clamp(min=0), 2 * three)
    elif post.residual is not None and residual is not None:
        t = t + (residual - post.residual.zero) * three
    return sat(rs(t, post.out_shift) + zero, ACT_BITS)


def convolve(x: Tensor, weight: Tensor, pad: Tensor, stride: int, groups: int) -> Tensor:
    """Accumulate a convolution of int64 ``[N, I, H, W]`` with int64 ``[O, I/groups, k, k]``.

    Outside the picture channel i is ``pad[i]``.

    Double precision holds every sum exactly: the contract keeps them below 2^26.
    """
    edge, kernel = pad.double().reshape(1, -1, 1, 1), weight.shape[-1]
    if kernel > 1:
        n, c, h, w = x.shape
        framed = edge.expand(n, c, h + kernel - 1, w + kernel - 1).clone()
        framed[:, :, kernel // 2 : kernel // 2 + h, kernel // 2 : kernel // 2 + w] = x
    else:
        framed = x.double()
    return functional.conv2d(framed, weight.double(), stride=stride, groups=groups).long()


def upsample(x: Tensor, factor: int) -> Tensor:
    """Accumulate the enlargement of int64 ``[N, C, H, W]`` (section 9)."""
    rows, columns = (torch.tensor(matrix(factor, extent), dtype=torch.float64) for extent in x.shape[2:])
    return (rows @ x.double() @ columns.T).long()


def normalise(x: Tensor) -> Tensor:
    """LayerNorm's ``n`` of int64 ``[N, C]`` (section 6)."""
    count = x.shape[1]
    s1, s2 = x.sum(1, keepdim=True), (x * x).sum(1, keepdim=True)
    deviation = isqrt(count * s2 - s1 * s1).clamp(min=1)
    inverse = torch.div(1 << 30, deviation, rounding_mode="floor").clamp(max=(1 << 24) - 1)
    return sat(rs((count * x - s1) * inverse, 21), 16)


def split_heads(qkv: list[Tensor], dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split tensors ``[N, 3*d*H, h, w]`` into relu(Q), relu(K), V, each ``[N, heads, d, P]``, heads in order."""
    parts = torch.cat([x.reshape(x.shape[0], -1, 3 * dim, x.shape[2] * x.shape[3]) for x in qkv], 1)
    q, k, v = parts.split(dim, dim=2)
    return q.clamp(min=0), k.clamp(min=0), v


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices of int64, exactly, in double precision."""
    return (a.double() @ b.double()).long()


def divisor_code(divisor: Tensor, div_min: Tensor, code_bits: int) -> Tensor:
    """Return the code of divisors ``[N, heads, P]`` for ``div_min`` ``[heads]``, with a fraction or without (section 7)."""
    least = div_min.reshape(1, -1, 1)
    if code_bits == CODE_BITS:
        code = divisor_exponent(divisor) - least
    else:
        top = msb(divisor).clamp(min=0)
        fraction = (divisor << FRACTION_BITS >> top) - (1 << FRACTION_BITS)
        code = ((top - least) << FRACTION_BITS) + fraction
    return torch.where(divisor > 0, code.clamp(0, (1 << code_bits) - 1), 0)


def quotient(numerator: Tensor, code: Tensor, mult: Tensor, shift: Tensor, code_bits: int) -> Tensor:
    """Divide ``[N, heads, d, P]`` by codes ``[N, heads, 1, P]`` (section 7); ``mult`` and ``shift`` broadcast. Signed 8 bits."""
    if code_bits == CODE_BITS:
        return sat(first_step(numerator, 0, mult, shift + code), ACT_BITS)
    t = first_step(numerator, 0, mult, shift + (code >> FRACTION_BITS))
    reciprocal = torch.tensor(RECIPROCALS)[code & ((1 << FRACTION_BITS) - 1)]
    return sat(rs(t * reciprocal, QUOTIENT_SHIFT), ACT_BITS)


def divisor_exponent(divisor: Tensor) -> Tensor:
    """Return ``e`` of section 7's 4-bit code: the leading one's index, plus the bit below it; 0 for a divisor of 0."""
    index = msb(divisor).clamp(min=0)
    below = torch.where(index > 0, (divisor >> (index - 1).clamp(min=0)) & 1, 0)
    return index + below


def attention_sums(
    k: Tensor, v: Tensor, z: tuple[Tensor, Tensor], ksum: tuple[Tensor, Tensor], z_bits: int
) -> tuple[Tensor, Tensor]:
    """Return Z ``[N, heads, d, d]`` and Ks ``[N, heads, d]``; ``z`` and ``ksum`` are ``(mult, shift)``, each ``[heads]``."""
    by_head = [value.reshape(1, -1, 1, 1) for value in z]
    matrix = sat(first_step(product(k, v.transpose(-1, -2)), 0, *by_head), z_bits)
    total = sat(first_step(k.sum(-1), 0, *(value.reshape(1, -1, 1) for value in ksum)), SUM_BITS)
    return matrix, total
