"""Multiplexers of two by two, as lookup tables of six inputs take them: four ways each."""

from amaranth import Mux
from amaranth.hdl import Value


def chosen(select: Value, *values: Value) -> Value:
    """The value that ``select`` has the place of; as many values as ``select`` can name."""
    if len(values) != 1 << len(select):
        raise ValueError(f"{len(values)} values, and {len(select)} bits to choose by")
    for bit in select:
        values = tuple(Mux(bit, odd, even) for even, odd in zip(values[::2], values[1::2], strict=True))
    return values[0]
