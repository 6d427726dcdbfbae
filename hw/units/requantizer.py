"""The first step of post-processing: an accumulator, its bias, the channel's scale (integer contract, section 3)."""

from amaranth import Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.cost import Resources
from hw.delay import delayed
from hw.units.product import product_resources, registered_product
from hw.units.rounding import RoundingShift
from quant.contract import ACC_BITS, CODE_BITS, MULT_BITS, PRE_BITS, SHIFT_MAX

#: Bits of a channel's shift.
SHIFT_BITS = ceil_log2(SHIFT_MAX + 1)
#: Bits of the shift with a divisor's code added.
TOTAL_SHIFT_BITS = ceil_log2(SHIFT_MAX + (1 << CODE_BITS))


class Requantizer(wiring.Component):
    """One lane of ``t = sat(rs((acc + bias) * mult, shift + code), PRE_BITS)``.

    A pure pipeline: a new value each cycle, ``latency`` cycles. The first four registers are those of a DSP48E2: operands,
    pre-adder, product, and the product once more at the output; then come the three steps of the rounding shift.
    Yosys (synth_xilinx -family xcup) infers one DSP48E2. Without ``dsp`` the product is made of lookup tables, in as many cycles.

    Parameters
    ----------
    dsp : bool
        The product is a DSP's.

    Members
    -------
    acc, bias : In(signed(ACC_BITS))
        Accumulator and bias; their sum fits ``ACC_BITS``.
    mult : In(MULT_BITS)
        Multiplier.
    shift : In(SHIFT_BITS), code : In(CODE_BITS)
        The channel's shift and the whole part of the divisor's code; a sum beyond the product's width gives 0.
    t : Out(signed(PRE_BITS))
        The result.
    """

    #: Registers up to the product, as a DSP has them.
    _PRODUCT_CYCLES = 4
    #: Cycles from the inputs to ``t``.
    latency = _PRODUCT_CYCLES + RoundingShift.latency

    def __init__(self, dsp: bool = True):
        self.dsp = dsp
        super().__init__(
            {
                "acc": In(signed(ACC_BITS)),
                "bias": In(signed(ACC_BITS)),
                "mult": In(MULT_BITS),
                "shift": In(SHIFT_BITS),
                "code": In(CODE_BITS),
                "t": Out(signed(PRE_BITS)),
            }
        )

    @staticmethod
    def resources(dsp: bool = True) -> Resources:
        """Its multiplier, which takes operands of 27 bits."""
        return product_resources(signed(ACC_BITS), unsigned(MULT_BITS), dsp=dsp)

    def elaborate(self, platform: object) -> Module:
        """Build the pipeline."""
        m = Module()
        acc = delayed(m, self.acc, 1, "acc")
        bias = delayed(m, self.bias, 1, "bias")
        total = Signal(signed(ACC_BITS), reset_less=True)
        m.d.sync += total.eq(acc + bias)
        # Flip-flops with a reset, of which there are more than of lookup tables that are shift registers.
        mult = delayed(m, self.mult, 2, "mult", reset=True)
        product = registered_product(m, total, mult, "product", dsp=self.dsp)

        shift = Signal(TOTAL_SHIFT_BITS, reset_less=True)
        m.d.sync += shift.eq(self.shift + self.code)
        m.submodules.rounding = rounding = RoundingShift(len(product), TOTAL_SHIFT_BITS, PRE_BITS)
        m.d.comb += [
            rounding.i.eq(product),
            rounding.shift.eq(delayed(m, shift, self._PRODUCT_CYCLES - 1, "shift", reset=True)),
            self.t.eq(rounding.o),
        ]
        return m
