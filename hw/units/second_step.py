"""Second step of post-processing: hardswish, residual or quotient, second shift, zero point (integer contract, sections 3, 7)."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.control.descriptor import DESCRIPTOR, Act
from hw.cost import Resources
from hw.delay import delayed
from hw.units.product import product_resources, registered_product
from hw.units.rounding import RoundingShift, saturated
from quant.contract import ACT_BITS, OUT_SHIFT_MAX, PRE_BITS, THREE_BITS, ZERO_BITS

#: Bits of the second shift.
OUT_SHIFT_BITS = ceil_log2(OUT_SHIFT_MAX + 1)
#: Bits of the residual's zero point.
RES_ZERO_BITS = DESCRIPTOR["res_zero"].width
#: What the shifter keeps before the zero point is added: its limits saturate ``ACT_BITS`` whatever the zero point is.
_NEAR_BITS = max(ZERO_BITS, ACT_BITS) + 1


class SecondStep(wiring.Component):
    """One lane from ``t`` to ``q``: ``q = sat(rs(v, out_shift) + zero, ACT_BITS)``.

    ==========  =======================================
    ``act``     ``v``
    ==========  =======================================
    NONE        ``t``
    HARDSWISH   ``t * min(max(t + three, 0), 2 * three)``
    RESIDUAL    ``t + (r - res_zero) * three``
    QUOTIENT    ``t * three``
    ==========  =======================================

    All of them are ``x * y + z`` of one DSP: operands, product and sum are registered, the operands once more before the
    multiplier for the clamp; Yosys (synth_xilinx -family xcup) infers one DSP48E2. Without ``dsp`` product and sum
    are made of lookup tables, in as many cycles. A pure pipeline: a new value each cycle, ``latency`` cycles.

    Parameters
    ----------
    dsp : bool
        Product and sum are a DSP's.

    Members
    -------
    t : In(signed(PRE_BITS))
        What the first step gave.
    three : In(THREE_BITS), zero : In(signed(ZERO_BITS))
        The channel's zero point, and its hardswish's constant, its residual's multiplier or the reciprocal of its divisor.
    r : In(signed(ACT_BITS))
        The residual.
    act : In(Act), out_shift : In(OUT_SHIFT_BITS), res_zero : In(signed(RES_ZERO_BITS))
        The layer's constants; like all inputs they belong to the value of the same cycle.
    q : Out(signed(ACT_BITS))
        The result.
    t_out : Out(signed(PRE_BITS))
        ``t`` in the cycle of ``q``: what logits keep.
    """

    #: Registers up to the sum: clamp, operands, product, sum.
    _SUM_CYCLES = 4
    #: Cycles from the inputs to ``q`` and ``t_out``; the last one adds the zero point.
    latency = _SUM_CYCLES + RoundingShift.latency + 1

    def __init__(self, dsp: bool = True):
        self.dsp = dsp
        super().__init__(
            {
                "t": In(signed(PRE_BITS)),
                "three": In(THREE_BITS),
                "zero": In(signed(ZERO_BITS)),
                "r": In(signed(ACT_BITS)),
                "act": In(Act),
                "out_shift": In(OUT_SHIFT_BITS),
                "res_zero": In(signed(RES_ZERO_BITS)),
                "q": Out(signed(ACT_BITS)),
                "t_out": Out(signed(PRE_BITS)),
            }
        )

    @staticmethod
    def resources(dsp: bool = True) -> Resources:
        """Its multiplier."""
        return product_resources(signed(PRE_BITS), unsigned(THREE_BITS + 1), dsp=dsp, plus=signed(PRE_BITS))

    def elaborate(self, platform: object) -> Module:
        """Build the pipeline."""
        m = Module()
        t1 = delayed(m, self.t, 1, "t")
        three1 = delayed(m, self.three, 1, "three")
        act1 = delayed(m, self.act, 1, "act")
        lifted = Signal((self.t + self.three).shape(), reset_less=True)
        above = Signal(reset_less=True)
        centred = Signal((self.r - self.res_zero).shape(), reset_less=True)
        m.d.sync += [
            lifted.eq(self.t + self.three),
            above.eq(self.t > self.three),  # t + three > 2 * three
            centred.eq(self.r - self.res_zero),
        ]

        x = Signal(signed(PRE_BITS), reset_less=True)
        y = Signal(THREE_BITS + 1, reset_less=True)
        z = Signal(signed(PRE_BITS), reset_less=True)
        gate = Mux(lifted < 0, 0, Mux(above, three1 << 1, lifted))
        m.d.sync += y.eq(Mux(act1 == Act.HARDSWISH, gate, three1))
        with m.Switch(act1):
            with m.Case(Act.HARDSWISH, Act.QUOTIENT):
                m.d.sync += [x.eq(t1), z.eq(0)]
            with m.Case(Act.RESIDUAL):
                m.d.sync += [x.eq(centred), z.eq(t1)]
            with m.Default():
                m.d.sync += [x.eq(0), z.eq(t1)]
        v = registered_product(m, x, y, "v", dsp=self.dsp, plus=z)

        m.submodules.rounding = rounding = RoundingShift(len(v), OUT_SHIFT_BITS, _NEAR_BITS)
        zero = delayed(m, self.zero, self.latency - 1, "zero")
        m.d.comb += [rounding.i.eq(v), rounding.shift.eq(delayed(m, self.out_shift, self._SUM_CYCLES, "out_shift"))]
        m.d.sync += self.q.eq(saturated(rounding.o + zero, ACT_BITS))
        m.d.comb += self.t_out.eq(delayed(m, self.t, self.latency, "t_out"))
        return m
