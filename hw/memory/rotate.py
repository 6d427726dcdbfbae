"""Rotation of a row of words: what aligns a read with its first pixel, and a write with its bank."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import ShapeLike, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2


class Rotator(wiring.Component):
    """Rotates ``lanes`` elements towards lane 0, in two registered steps.

    ``o[i] = i[(i + amount) mod lanes]``, ``latency`` cycles later; a new row each cycle.

    Parameters
    ----------
    element : ShapeLike
        Shape of a lane.
    lanes : int
        Number of lanes, a power of two.

    Members
    -------
    i : In(ArrayLayout(element, lanes))
        The row.
    amount : In(log2 lanes)
        Lanes to rotate by.
    o : Out(ArrayLayout(element, lanes))
        The rotated row.
    """

    latency = 2

    def __init__(self, element: ShapeLike, lanes: int):
        self.element = element
        self.lanes = lanes
        self.stages = exact_log2(lanes)
        super().__init__({
            "i": In(data.ArrayLayout(element, lanes)),
            "amount": In(max(1, self.stages)),
            "o": Out(data.ArrayLayout(element, lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        """Two registered steps of multiplexers."""
        m = Module()
        half = (self.stages + 1) // 2
        coarse = range(half, self.stages)
        fine = range(half)
        rest = Signal(self.amount.shape())
        between = Signal(self.i.shape())
        m.d.sync += [between.eq(self._rotate(m, self.i, self.amount, coarse, "coarse")), rest.eq(self.amount)]
        m.d.sync += self.o.eq(self._rotate(m, between, rest, fine, "fine"))
        return m

    def _rotate(self, m: Module, row: data.View, amount: Value, bits: range, name: str) -> Value:
        for bit in bits:
            rotated = Signal(self.i.shape(), name=f"{name}_{bit}")
            for lane in range(self.lanes):
                m.d.comb += rotated[lane].eq(Mux(amount[bit], row[(lane + (1 << bit)) % self.lanes], row[lane]))
            row = rotated
        return data.View.as_value(row) if isinstance(row, data.View) else row


