"""One block of multipliers: adder trees over the inputs of each lane, or an accumulator for each product."""

from amaranth import Const, Module, Mux, Signal, signed
from amaranth.hdl import Value
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
#: Width of an own accumulator: a product is 2^14 at most, which is a bit less than its width would hold.
OWN_BITS = (MAX_TAPS << PRODUCT_BITS - 2).bit_length() + 1
#: Distance of the two products in a DSP, and the width of the lower one's field: the narrower operand of a DSP48E2 has 18 bits
#: and its wider one 27, which leaves 9 for the upper lane with the lower lane's borrow.
FIELD_BITS = 18
#: Most products of a field before it overflows.
MAX_INPUTS = 8


def lower_field(packed: Value) -> Value:
    """The even lane of packed products or sums."""
    return packed[:FIELD_BITS].as_signed()


def upper_field(packed: Value) -> Value:
    """The odd lane but for the borrow: ``(packed - lower) >> FIELD_BITS`` is the sum of both."""
    return packed[FIELD_BITS:].as_signed()


def borrow(packed: Value) -> Value:
    """What a negative lower field took from the upper one."""
    return packed[FIELD_BITS - 1]


class MacBlock(wiring.Component):
    """``lanes x inputs`` int8 multipliers, two lanes in a DSP: ``((odd << FIELD_BITS) + even) * shared``.

    All lanes of a block multiply by the same operands, one an input. Each stage is registered as a DSP48E2 wants it: operands,
    pre-adder, product. The trees add packed products; the accumulators take the fields apart.

    With ``own`` a beat is summed in one of two ways. Every product has an adder, which adds it to its own accumulator; in a beat
    for the trees, that of an even input adds its neighbour instead, which takes no further lookup table. So the trees begin with
    the even inputs' accumulators and destroy them, and are trees of a lane, not of packed products. A borrow is the carry-in of
    an adder: of those, the accumulator of the sums included, a lane has as many as products.

    *Exact.* Both operands lie in -128 .. 127, so a product lies in -16256 .. 16384, and up to ``MAX_INPUTS`` of them in
    -130048 .. 131072, of which the lower field holds everything but the last number. It takes eight products of -128 by -128 in
    one beat, which no task has: in PW and DW one of the operands is a weight, in -127 .. 127 (integer contract, section 1); in
    K^T V, DIV and QZ the shared operand has passed a relu. The upper field has no neighbour and only its borrow is needed.
    With ``own`` single products are taken apart, which any operands may give; the trees' sums have the lower field's width.

    Parameters
    ----------
    lanes, inputs : int
        Size of the block: an even number of lanes, at most ``MAX_INPUTS`` inputs.
    own : bool
        Also give each product its own accumulator (the R-MAC engine's DW mode).

    Members
    -------
    shared : In(ArrayLayout([inputs] of int8))
        The operand that all lanes of an input have in common, ``shared_after`` cycles after the other one.
    private : In(ArrayLayout([lanes][inputs] of int8))
        The other operand of every multiplier.
    valid : In(1)
        The operands count.
    first : In(1)
        They start a new sum.
    own_beat : In(1)
        They are summed in ``own_acc`` and not in ``acc``. Only with ``own``.
    acc : Out([lanes] of signed ACC_BITS)
        Sum over the inputs and the beats since ``first``, ``tree_latency`` cycles after the operands.
    own_acc : Out([lanes][inputs] of signed OWN_BITS)
        Sum over the beats alone, ``own_latency`` cycles after the operands; of no meaning from a beat of ``acc`` to the next
        ``first``. Only with ``own``.
    """

    #: Registers up to the product, as a DSP has them.
    _PRODUCT_CYCLES = 3
    #: Cycles from operands to their sum in ``own_acc``.
    own_latency = _PRODUCT_CYCLES + 1
    #: Cycles from ``private``, which the pre-adder has in between, to the ``shared`` operand that it meets.
    shared_after = 1

    def __init__(self, lanes: int, inputs: int, *, own: bool = False):
        if lanes % 2 or inputs > MAX_INPUTS:
            raise ValueError(f"{lanes} lanes of {inputs} inputs: lanes come in pairs, of {MAX_INPUTS} inputs at most")
        self.lanes = lanes
        self.inputs = inputs
        self.own = own
        operand = data.ArrayLayout(signed(ACT_BITS), inputs)
        members = {
            "shared": In(operand),
            "private": In(data.ArrayLayout(operand, lanes)),
            "valid": In(1),
            "first": In(1),
            "acc": Out(data.ArrayLayout(signed(ACC_BITS), lanes)),
        }
        if own:
            members["own_beat"] = In(1)
            members["own_acc"] = Out(data.ArrayLayout(data.ArrayLayout(signed(OWN_BITS), inputs), lanes))
        super().__init__(members)

    @property
    def tree_latency(self) -> int:
        """Cycles from operands to their sum in ``acc``: operands, pre-adder, product, tree, accumulator registers."""
        return self._PRODUCT_CYCLES + exact_log2(self.inputs) + 1

    @staticmethod
    def resources(lanes: int, inputs: int) -> Resources:
        """A DSP slice for two lanes of an input; accumulators are adders."""
        return Resources(dsp=lanes // 2 * inputs)

    def elaborate(self, platform: object) -> Module:
        """Operand, pre-adder, product, tree and accumulator registers."""
        m = Module()
        private = delayed(m, self.private, 1, "private")
        shared = delayed(m, self.shared, 1, "shared")
        to_tree = self.valid & ~self.own_beat if self.own else self.valid
        tree_valid = delayed(m, to_tree, self.tree_latency - 1, "tree_valid", reset=True)
        tree_first = delayed(m, self.first, self.tree_latency - 1, "tree_first")
        pairs = []
        for even in range(0, self.lanes, 2):
            products = []
            for i in range(self.inputs):
                packed = Signal(signed(FIELD_BITS + ACT_BITS + 1), name=f"packed_{even}_{i}", reset_less=True)
                m.d.sync += packed.eq((private[even + 1][i] << FIELD_BITS) + private[even][i])
                product = Signal(signed(FIELD_BITS + PRODUCT_BITS), name=f"product_{even}_{i}", reset_less=True)
                m.d.sync += product.eq(packed * shared[i])
                products.append(product)
            pairs.append(products)
        sums = self._lane_sums(m, pairs) if self.own else self._packed_sums(m, pairs)
        with m.If(tree_valid):
            for lane, total in enumerate(sums):
                m.d.sync += self.acc[lane].eq(Mux(tree_first, 0, self.acc[lane]) + total)
        return m

    def _packed_sums(self, m: Module, pairs: list[list[Signal]]) -> list[Value]:
        """The sum of each lane's products, of which a tree adds two lanes' at once."""
        lanes = []
        for pair, level in enumerate(pairs):
            while len(level) > 1:
                sums = []
                for i in range(0, len(level), 2):
                    total = Signal((level[i] + level[i + 1]).shape(), name=f"sum_{pair}_{len(level)}_{i}", reset_less=True)
                    m.d.sync += total.eq(level[i] + level[i + 1])
                    sums.append(total)
                level = sums
            lanes += [lower_field(level[0]), upper_field(level[0]) + borrow(level[0])]
        return lanes

    def _lane_sums(self, m: Module, pairs: list[list[Signal]]) -> list[Value]:
        """The sum of each lane's products in trees, and all products in accumulators, which are the trees' first adders."""
        valid = delayed(m, self.valid, self._PRODUCT_CYCLES, "product_valid", reset=True)
        first = delayed(m, self.first, self._PRODUCT_CYCLES, "product_first")
        own_beat = delayed(m, self.own_beat, self._PRODUCT_CYCLES, "product_own_beat")
        lanes = []
        for lane in range(self.lanes):
            products, odd = pairs[lane // 2], lane % 2
            fields = [upper_field(product) if odd else lower_field(product) for product in products]
            borrows = [borrow(product) if odd else Const(0) for product in products]
            for i, own in enumerate(self.own_acc[lane]):
                kept = Mux(first, 0, own)
                with m.If(valid):
                    m.d.sync += own.eq(fields[i] + (kept if i % 2 else Mux(own_beat, kept, fields[i + 1])) + borrows[i])
            level = [own[: PRODUCT_BITS + 1].as_signed() for own in self.own_acc[lane]][::2]
            # An adder has one carry-in: the borrow of the last product on its left, and that of the very last one is left over.
            borrows = borrows[1::2]
            while True:
                waiting = []
                for i, value in enumerate(borrows):
                    # With a reset, so that the longer ones become no shift registers, which are lookup tables.
                    waiting.append(Signal(name=f"borrow_{lane}_{len(level)}_{i}"))
                    m.d.sync += waiting[-1].eq(value)
                if len(level) == 1:
                    break
                sums = []
                for i in range(0, len(level), 2):
                    width = min(len(level[i]) + 1, FIELD_BITS)
                    sums.append(Signal(signed(width), name=f"sum_{lane}_{len(level)}_{i}", reset_less=True))
                    m.d.sync += sums[-1].eq(level[i] + level[i + 1] + waiting[i])
                level, borrows = sums, waiting[1::2]
            lanes.append(level[0] + waiting[0])
        return lanes
