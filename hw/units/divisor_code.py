"""What the code of a divisor means to a quotient: a shift and a reciprocal (integer contract, section 7)."""

from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.units.log2 import FULL_CODE_BITS
from quant.contract import CODE_BITS, FRACTION_BITS, RECIPROCAL_BITS, RECIPROCALS


class DivisorCode(wiring.Component):
    """Splits a code: ``shift`` is its whole part and ``reciprocal`` what its fraction ``f`` stands for, ``R[f]``.

    Combinational: a lookup table of six inputs for each bit of the reciprocal, no memory.

    Members
    -------
    code : In(FULL_CODE_BITS)
        The code.
    used : In(1), fine : In(1)
        Whether the result is a quotient at all, without which ``shift`` is 0, and whether its code has a fraction.
    shift : Out(CODE_BITS)
        What the first step adds to its shift.
    reciprocal : Out(RECIPROCAL_BITS)
        What the second step multiplies by; of no meaning for a code without a fraction.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "code": In(FULL_CODE_BITS),
                "used": In(1),
                "fine": In(1),
                "shift": Out(CODE_BITS),
                "reciprocal": Out(RECIPROCAL_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Selections alone."""
        m = Module()
        whole = Mux(self.fine, self.code[FRACTION_BITS:], self.code[:CODE_BITS])
        m.d.comb += self.shift.eq(Mux(self.used, whole, 0))
        # Bit by bit, as synthesis would take a table for a memory.
        for bit in range(RECIPROCAL_BITS):
            having = [f for f, value in enumerate(RECIPROCALS) if value >> bit & 1]
            m.d.comb += self.reciprocal[bit].eq(self.code[:FRACTION_BITS].matches(*having))
        return m
