"""The integer contract once more, one number at a time with Python's unbounded integers and fractions; slow and plain."""

from fractions import Fraction
from math import floor, isqrt

import numpy as np


def rs(v, s):
    """Halves towards plus infinity, by the rounding's definition instead of shifts."""
    return floor(Fraction(v, 2**s) + Fraction(1, 2)) if s else v


def sat(v, bits):
    return sorted((-(2 ** (bits - 1)), v, 2 ** (bits - 1) - 1))[1]


def post(acc, o, arrays, *, act="none", out_shift=0, residual=None, logits=False, code=0):
    """One accumulator of channel ``o``; ``residual`` is None or (r, res_zero)."""
    a = int(acc) + int(arrays["bias"][o])
    t = sat(rs(a * int(arrays["mult"][o]), int(arrays["shift"][o]) + code), 16)
    if logits:
        return t
    v = t
    if act == "hardswish":
        three = int(arrays["three"][o])
        v = t * min(max(t + three, 0), 2 * three)
    if residual is not None:
        r, res_zero = residual
        v = t + (int(r) - res_zero) * int(arrays["three"][o])
    return sat(rs(v, out_shift) + int(arrays["zero"][o]), 8)


def conv(x, weight, pad, stride):
    """One picture: ``x`` [I][H][W], ``weight`` [O][I][k][k]."""
    inputs, height, width = x.shape
    outputs, _, k, _ = weight.shape
    acc = np.zeros((outputs, -(-height // stride), -(-width // stride)), object)
    for o, y, column in np.ndindex(*acc.shape):
        total = 0
        for i, ky, kx in np.ndindex(inputs, k, k):
            py, px = y * stride + ky - k // 2, column * stride + kx - k // 2
            inside = 0 <= py < height and 0 <= px < width
            total += int(weight[o, i, ky, kx]) * (int(x[i, py, px]) if inside else int(pad[i]))
        acc[o, y, column] = total
    return acc


def dw(x, weight, pad, stride):
    return np.concatenate([conv(x[c : c + 1], weight[c : c + 1, None], pad[c : c + 1], stride) for c in range(len(x))])


def pw(x, weight, groups):
    inputs, height, width = x.shape
    outputs, per_group = weight.shape
    acc = np.zeros((outputs, height, width), object)
    for o, y, column in np.ndindex(*acc.shape):
        group = o // (outputs // groups)
        acc[o, y, column] = sum(int(weight[o, i]) * int(x[group * (inputs // groups) + i, y, column]) for i in range(per_group))
    return acc


def fc(x, weight):
    return np.array([sum(int(w) * int(v) for w, v in zip(row, x, strict=True)) for row in weight], object)


def pool(x):
    return np.array([sum(int(v) for v in channel.ravel()) for channel in x], object)


def layernorm(x, gamma):
    values = [int(v) for v in x]
    count, s1, s2 = len(values), sum(values), sum(v * v for v in values)
    sd = max(isqrt(count * s2 - s1 * s1), 1)
    inv = min(2**30 // sd, 2**24 - 1)
    return np.array([sat(rs((count * v - s1) * inv, 21), 16) * int(g) for v, g in zip(values, gamma, strict=True)], object)


def code(divisor, div_min, code_bits=4):
    """The logarithm from the divisor's binary digits; zeros stand below its last one."""
    if divisor == 0:
        return 0
    bits = f"{divisor:b}"
    if code_bits == 4:
        return min(max(len(bits) - 1 + (bits[1:2] == "1") - div_min, 0), 15)
    return min(max(64 * (len(bits) - 1 - div_min) + int((bits[1:] + "000000")[:6], 2), 0), 1023)


def quotient(numerator, code, mult, shift, code_bits=4):
    """One number divided by what ``code`` stands for; the reciprocal is that of the middle of the fraction's interval."""
    if code_bits == 4:
        return sat(sat(rs(numerator * mult, shift + code), 16), 8)
    whole, fraction = divmod(code, 64)
    middle = 1 + (Fraction(fraction) + Fraction(1, 2)) / 64
    t = sat(rs(numerator * mult, shift + whole), 16)
    return sat(rs(t * floor(4096 / middle + Fraction(1, 2)), 17), 8)


def attention(inputs, dim, arrays, code_bits=4, z_bits=8):
    """One picture; ``inputs`` are [3 * d * heads, H, W]. Returns z, ksum, code and output."""
    heads = [(x.reshape(x.shape[0], -1), first) for x in inputs for first in range(0, len(x), 3 * dim)]
    pixels = inputs[0].shape[1] * inputs[0].shape[2]
    z = np.zeros((len(heads), dim, dim), object)
    ksum = np.zeros((len(heads), dim), object)
    codes = np.zeros((len(heads), pixels), object)
    output = np.zeros((len(heads) * dim, pixels), object)
    for g, (x, first) in enumerate(heads):

        def constants(what, g=g):
            return int(arrays[f"{what}_mult"][g]), int(arrays[f"{what}_shift"][g])

        def scaled(acc, what, bits, constants=constants):
            mult, shift = constants(what)
            return sat(rs(acc * mult, shift), bits)

        q, k = ([[max(int(v), 0) for v in x[first + part * dim + i]] for i in range(dim)] for part in (0, 1))
        v = [[int(value) for value in x[first + 2 * dim + j]] for j in range(dim)]
        for i in range(dim):
            ksum[g, i] = scaled(sum(k[i]), "k", 15)
            for j in range(dim):
                z[g, i, j] = scaled(sum(k[i][p] * v[j][p] for p in range(pixels)), "z", z_bits)
        for p in range(pixels):
            codes[g, p] = code(sum(q[i][p] * ksum[g, i] for i in range(dim)), int(arrays["div_min"][g]), code_bits)
            for j in range(dim):
                total = sum(q[i][p] * z[g, i, j] for i in range(dim))
                output[g * dim + j, p] = quotient(total, codes[g, p], *constants("o"), code_bits)
    return z, ksum, codes, output.reshape(-1, *inputs[0].shape[1:])
