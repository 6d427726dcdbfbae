"""Products by a DSP or by lookup tables, in the same two cycles."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value

from hw.cost import Resources
from hw.delay import delayed

#: A number and the place of its lowest bit.
_Row = tuple[int, Value]
#: Levels of adders before the first register of a product of lookup tables; up to 16 rows leave as many behind it.
_FIRST_LEVELS = 2


def _rows(x: Value, y: Value) -> list[_Row]:
    """``x`` for each bit of ``y``; a sign bit counts negative."""
    rows = [(place, Mux(bit, x, 0)) for place, bit in enumerate(y)]
    if y.shape().signed:
        rows[-1] = (len(y) - 1, Mux(y[-1], -x, 0))
    return rows


def _joined(low: _Row, high: _Row) -> _Row:
    """The sum of two rows; what lies below the higher one needs no adder."""
    gap = high[0] - low[0]
    total = (low[1] >> gap) + high[1]
    whole = Cat(low[1][:gap], total)
    return low[0], whole.as_signed() if total.shape().signed else whole


def _level(rows: list[_Row]) -> list[_Row]:
    """Half as many rows."""
    pairs = [_joined(low, high) for low, high in zip(rows[::2], rows[1::2], strict=False)]
    return pairs + rows[len(rows) & ~1 :]


def logic_product(x: Value, y: Value) -> Value:
    """``x * y`` as adders, without a register, which no tool makes a DSP of; the fewer bits ``y`` has, the fewer rows."""
    rows = _rows(x, y)
    while len(rows) > 1:
        rows = _level(rows)
    return rows[0][1]


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
    rows = _rows(x, y) if plus is None else [(0, plus), *_rows(x, y)]
    for _ in range(_FIRST_LEVELS):
        rows = _level(rows)
    rows = [(place, delayed(m, value, 1, f"{name}_{place}")) for place, value in rows]
    while len(rows) > 1:
        rows = _level(rows)
    m.d.sync += result.eq(rows[0][1])
    return result


def product_resources(x_bits: int, y_bits: int, *, dsp: bool, plus: bool = False) -> Resources:
    """A DSP, or about a lookup table for each bit of the adders (with two outputs it has room for the gates of both rows)."""
    if dsp:
        return Resources(dsp=1)
    luts, rows, bits, gap = 0, y_bits + plus, x_bits, 1
    while rows > 1:
        bits += 1
        luts += rows // 2 * bits
        # Both rows of a sum overlap in all but ``gap`` bits.
        bits, gap, rows = bits + gap, 2 * gap, -(-rows // 2)
    return Resources(lutmul=luts)
