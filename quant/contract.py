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
FRACTION_BITS = 4
#: What a layer's ``code_bits`` may be.
CODE_WIDTHS = (CODE_BITS, CODE_BITS + FRACTION_BITS)
#: Second shift of a quotient by a code with a fraction (section 7).
QUOTIENT_SHIFT = 14
#: ``R[f]`` of section 7, 9 bits unsigned.
RECIPROCALS = tuple((2 * (1 << 14) + 33 + 2 * f) // (2 * (33 + 2 * f)) for f in range(1 << FRACTION_BITS))
#: Signed LayerNorm factor.
GAMMA_BITS = 11
