"""Delay lines: what keeps a value beside the pipeline that it belongs to."""

from amaranth import Module, Signal
from amaranth.hdl import Value
from amaranth.lib import data


def delayed(m: Module, value: Value | data.View, cycles: int, name: str, *, reset: bool = False) -> Value | data.View:
    """``value``, ``cycles`` clock edges later (``value`` itself for 0).

    Data needs no reset, so that a long line becomes shift-register primitives, which are lookup tables; a line of valid bits
    takes ``reset``, and so does one that is to be flip-flops.
    """
    for cycle in range(cycles):
        stage = Signal(value.shape(), name=f"{name}_{cycle + 1}", reset_less=not reset)
        m.d.sync += stage.eq(value)
        value = stage
    return value
