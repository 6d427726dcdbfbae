"""Products by a DSP or by lookup tables, in the same two cycles.

A product of lookup tables is a chain of rows of radix-4 Booth digits, each -2 .. 2 times ``x``: a row takes the sum of those
before it and two more bits of ``y``, with the bit below them. A bit of the row's carry chain is one function of six inputs
(the sum's bit, two neighbours of ``x``, three of ``y``), one lookup table, and every row leaves two finished bits behind.
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Shape, Value

from hw.cost import Resources
from hw.delay import delayed

#: Bits of ``y`` that a row takes.
_DIGIT_BITS = 2


def _rows(y: Shape) -> int:
    """Rows that a factor of this shape takes: a number without a sign has one above its bits."""
    return -(-(y.width + (not y.signed)) // _DIGIT_BITS)


def _ends(shape: Shape) -> tuple[int, int]:
    """The least and the largest number of a shape."""
    return (-(1 << shape.width - 1), (1 << shape.width - 1) - 1) if shape.signed else (0, (1 << shape.width) - 1)


def _sum_shape(x: Shape, y: Shape, plus: Shape | None, rows: int) -> Shape:
    """The shape of what the first rows add up to: they read as much of ``y`` as a signed number, the last one all of it."""
    read = y if rows == _rows(y) else Shape(_DIGIT_BITS * rows, signed=True)
    least, most = _ends(plus) if plus else (0, 0)
    products = [one * other for one in _ends(x) for other in _ends(read)]
    ends = (min(products) + least, max(products) + most)
    # With a sign, which the next row needs, also where the numbers have none.
    return Shape(max(1 + (end if end >= 0 else ~end).bit_length() for end in ends), signed=True)


def _row(total: Value, x: Value, digit: Value, bits: int) -> Value:
    """``bits`` bits of ``total`` plus the row of a digit (three bits of ``y``, the lowest one of the digit below).

    A negative row is the complement, and the 1 that it lacks comes in by the chain's carry: twice the digit's sign at a place
    below the lowest one, where both make a carry or none and no lookup table is needed.
    """
    below, low, sign = digit
    chosen = Mux(below ^ low, x, Mux(low ^ sign, x << 1, 0)) ^ sign.replicate(len(x) + 1).as_signed()
    carried = Cat(sign, total).as_signed() + Cat(sign, chosen).as_signed()
    return carried[1 : bits + 1].as_signed()


class _Chain:
    """The rows of a product, to be added one after the other."""

    def __init__(self, x: Value, y: Value, plus: Value | None):
        self.x = x if x.shape().signed else Cat(x, Const(0, 1)).as_signed()
        self.y = y
        self._shapes = x.shape(), y.shape(), None if plus is None else plus.shape()
        self.rows = _rows(y.shape())
        self.row = 0
        #: The bits that no further row changes, and the sum from there upwards.
        self.low: Value = Const(0, 0)
        self.total: Value = Const(0, 1).as_signed() if plus is None else Cat(plus, plus[-1] & plus.shape().signed).as_signed()

    def add(self, rows: int) -> None:
        """Add the next rows."""
        for _ in range(rows):
            first = _DIGIT_BITS * self.row
            top = self.y[-1] if self.y.shape().signed else Const(0, 1)
            digit = Cat(Const(0, 1), self.y, top, top)[first : first + _DIGIT_BITS + 1]
            self.row += 1
            bits = _sum_shape(*self._shapes, self.row).width - first
            total = _row(self.total, self.x, digit, bits)
            if self.row < self.rows:
                self.low, total = Cat(self.low, total[:_DIGIT_BITS]), total[_DIGIT_BITS:].as_signed()
            self.total = total

    def register(self, m: Module, name: str) -> None:
        """A register between two rows."""
        read = _DIGIT_BITS * self.row - 1
        signed = self.y.shape().signed
        rest = delayed(m, self.y[read:], 1, f"{name}_y")
        kept = Cat(Const(0, read), rest)
        self.y = kept.as_signed() if signed else kept
        self.x = delayed(m, self.x, 1, f"{name}_x")
        self.low = delayed(m, self.low, 1, f"{name}_low")
        self.total = delayed(m, self.total, 1, f"{name}_total")

    @property
    def product(self) -> Value:
        """The sum of all rows."""
        return Cat(self.low, self.total).as_signed()


def logic_product(x: Value, y: Value) -> Value:
    """``x * y`` as adders, without a register, which no tool makes a DSP of; the fewer bits ``y`` has, the fewer rows."""
    chain = _Chain(x, y, None)
    chain.add(chain.rows)
    return chain.product


def registered_product(m: Module, x: Value, y: Value, name: str, *, dsp: bool, plus: Value | None = None) -> Value:
    """``x * y + plus``, two cycles after all of them.

    Parameters
    ----------
    m : Module
        Where it is built.
    x, y : Value
        Operands, registered; ``y`` the narrower one.
    name : str
        What the registers are called after.
    dsp : bool
        A multiplication, with the registers of a DSP48E2 for the product and the sum, or rows of adders with a register half
        way and one at their end.
    plus : Value, optional
        The addend.
    """
    wanted = x * y if plus is None else x * y + plus
    result = Signal(wanted.shape(), name=name, reset_less=True)
    if dsp:
        product = Signal((x * y).shape(), name=f"{name}_product", reset_less=True)
        m.d.sync += [product.eq(x * y), result.eq(product if plus is None else product + delayed(m, plus, 1, f"{name}_plus"))]
        return result
    chain = _Chain(x, y, plus)
    # The first row of a bare product adds to nothing and is the shortest, so the larger half comes first.
    chain.add(-(-chain.rows // 2))
    chain.register(m, name)
    chain.add(chain.rows - chain.row)
    m.d.sync += result.eq(chain.product)
    return result


def product_resources(x: Shape, y: Shape, *, dsp: bool, plus: Shape | None = None) -> Resources:
    """A DSP, or a lookup table for each bit of the rows."""
    if dsp:
        return Resources(dsp=1)
    return Resources(lutmul=sum(_sum_shape(x, y, plus, row + 1).width - _DIGIT_BITS * row for row in range(_rows(y))))
