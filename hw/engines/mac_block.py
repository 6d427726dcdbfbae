"""One block of multipliers: adder trees over the inputs of each lane, or an accumulator for each multiplier."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.cost import Resources
from hw.delay import delayed
from quant.contract import ACC_BITS, ACT_BITS, WEIGHT_BITS

#: Width of a product; -128 * -127 fits.
PRODUCT_BITS = ACT_BITS + WEIGHT_BITS
#: Most products that an own accumulator sums: a 5x5 kernel.
MAX_TAPS = 25
#: Width of an own accumulator.
OWN_BITS = PRODUCT_BITS + (MAX_TAPS - 1).bit_length()


class MacBlock(wiring.Component):
    """``lanes x inputs`` int8 multipliers; each stage is registered as a DSP48 wants it (operands, product, sum).

    Parameters
    ----------
    lanes, inputs : int
        Size of the block.
    own : bool
        Also give each multiplier its own accumulator (the R-MAC engine's DW mode).

    Members
    -------
    x, w : In(ArrayLayout([lanes][inputs] of int8))
        Operands of every multiplier.
    valid : In(1)
        The operands count.
    first : In(1)
        They start a new sum.
    acc : Out([lanes] of signed ACC_BITS)
        Sum over the inputs and the beats since ``first``, ``tree_latency`` cycles after the operands.
    own_acc : Out([lanes][inputs])
        Sum over the beats alone, ``own_latency`` cycles after the operands. Only with ``own``.
    """

    #: Cycles from operands to their sum in ``own_acc``.
    own_latency = 3

    def __init__(self, lanes: int, inputs: int, *, own: bool = False):
        self.lanes = lanes
        self.inputs = inputs
        self.own = own
        operand = data.ArrayLayout(data.ArrayLayout(signed(ACT_BITS), inputs), lanes)
        members = {
            "x": In(operand),
            "w": In(operand),
            "valid": In(1),
            "first": In(1),
            "acc": Out(data.ArrayLayout(signed(ACC_BITS), lanes)),
        }
        if own:
            members["own_acc"] = Out(data.ArrayLayout(data.ArrayLayout(signed(OWN_BITS), inputs), lanes))
        super().__init__(members)

    @property
    def tree_latency(self) -> int:
        """Cycles from operands to their sum in ``acc``: operand, product, tree, accumulator registers."""
        return 3 + exact_log2(self.inputs)

    @staticmethod
    def resources(lanes: int, inputs: int) -> Resources:
        """A DSP slice a multiplier, which also accumulates where each has its own sum."""
        return Resources(dsp=lanes * inputs)

    def elaborate(self, platform: object) -> Module:
        """Operand, product, tree and accumulator registers."""
        m = Module()
        x, w = Signal.like(self.x), Signal.like(self.w)
        m.d.sync += [x.eq(self.x), w.eq(self.w)]
        own_valid, own_first = delayed(m, self.valid, 2, "own_valid", reset=True), delayed(m, self.first, 2, "own_first")
        tree_valid = delayed(m, self.valid, self.tree_latency - 1, "tree_valid", reset=True)
        tree_first = delayed(m, self.first, self.tree_latency - 1, "tree_first")
        for lane in range(self.lanes):
            level = []
            for i in range(self.inputs):
                product = Signal(signed(PRODUCT_BITS), name=f"product_{lane}_{i}")
                m.d.sync += product.eq(x[lane][i] * w[lane][i])
                level.append(product)
                if self.own:
                    with m.If(own_valid):
                        m.d.sync += self.own_acc[lane][i].eq(product + Mux(own_first, 0, self.own_acc[lane][i]))
            width = PRODUCT_BITS
            while len(level) > 1:
                width += 1
                sums = []
                for i in range(0, len(level), 2):
                    total = Signal(signed(width), name=f"sum_{lane}_{width}_{i}")
                    m.d.sync += total.eq(level[i] + level[i + 1])
                    sums.append(total)
                level = sums
            with m.If(tree_valid):
                m.d.sync += self.acc[lane].eq(level[0] + Mux(tree_first, 0, self.acc[lane]))
        return m
