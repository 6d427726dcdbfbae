"""The integer square root that LayerNorm needs once a vector (integer contract, section 6)."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class IntegerSquareRoot(wiring.Component):
    """``root = floor(sqrt(value))``, one bit of the root a cycle.

    Digit by digit: two bits of the value join the remainder, and the root gets a one where ``4 * root + 1`` can be taken off.

    Parameters
    ----------
    value_bits : int
        Width of the value.

    Members
    -------
    start : In(1)
        Begin with ``value``; also ends a computation under way.
    value : In(value_bits)
        The radicand, read with ``start``.
    done : Out(1)
        High for one cycle, ``cycles`` after ``start``.
    root : Out((value_bits + 1) // 2)
        The root, from ``done`` until the next ``start``.
    """

    def __init__(self, value_bits: int):
        self.root_bits = (value_bits + 1) // 2
        super().__init__({"start": In(1), "value": In(value_bits), "done": Out(1), "root": Out(self.root_bits)})

    @property
    def cycles(self) -> int:
        """Cycles from ``start`` to ``done``."""
        return self.root_bits + 1

    def elaborate(self, platform: object) -> Module:
        """One step a cycle."""
        m = Module()
        rest = Signal(2 * self.root_bits)
        # The remainder never exceeds twice the root.
        remainder = Signal(self.root_bits + 1)
        left = Signal(range(self.root_bits + 1))
        grown = Cat(rest[-2:], remainder)
        difference = grown - Cat(Const(1, 2), self.root)
        fits = difference >= 0
        m.d.sync += self.done.eq((left == 1) & ~self.start)
        with m.If(self.start):
            m.d.sync += [rest.eq(self.value), remainder.eq(0), self.root.eq(0), left.eq(self.root_bits)]
        with m.Elif(left != 0):
            m.d.sync += [
                left.eq(left - 1),
                rest.eq(rest << 2),
                remainder.eq(Mux(fits, difference, grown)),
                self.root.eq(Cat(fits, self.root)),
            ]
        return m
