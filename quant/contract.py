"""The constants of docs/integer-contract.md, section 1."""

#: Activations, signed.
ACT_BITS = 8
#: Weights, signed, in [-127, 127].
WEIGHT_BITS = 8
#: Every accumulator, bias included, signed.
ACC_BITS = 27
#: Unsigned requantization multiplier.
MULT_BITS = 16
#: Largest requantization shift.
SHIFT_MAX = 47
#: The signed intermediate ``t``.
PRE_BITS = 16
#: Unsigned ``three``: hardswish's constant, or the residual's multiplier.
THREE_BITS = 14
#: Signed per-channel output zero point.
ZERO_BITS = 10
#: Largest second shift.
OUT_SHIFT_MAX = 31
#: Whole bits of the divisor's log2 code.
CODE_BITS = 4
#: Its fraction bits, where it has any.
FRACTION_BITS = 6
#: What a layer's ``code_bits`` may be.
CODE_WIDTHS = (CODE_BITS, CODE_BITS + FRACTION_BITS)
#: The reciprocal of 1 is ``2^RECIPROCAL_BITS``.
RECIPROCAL_BITS = 12
#: Second shift of a quotient by a code with a fraction (section 7).
QUOTIENT_SHIFT = 17
#: ``R[f]`` of section 7, ``RECIPROCAL_BITS`` unsigned: ``1 / (1 + (f + 1/2) / 2^FRACTION_BITS)``, rounded.
RECIPROCALS = tuple(
    ((2 << RECIPROCAL_BITS + FRACTION_BITS + 1) + odd) // (2 * odd)
    for odd in range((2 << FRACTION_BITS) + 1, 4 << FRACTION_BITS, 2)
)
#: Attention's sums of keys, and K^T V where a layer has it wide, signed.
SUM_BITS = 15
#: Their lower bits, the part that is multiplied by itself; what is above them is an activation.
LOW_BITS = SUM_BITS - ACT_BITS
#: What a layer's ``z_bits`` may be.
Z_WIDTHS = (ACT_BITS, SUM_BITS)
#: Signed LayerNorm factor.
GAMMA_BITS = 11
