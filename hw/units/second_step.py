"""Second step of post-processing: hardswish, residual or quotient, second shift, zero point (integer contract, sections 3, 7)."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.control.descriptor import DESCRIPTOR, Act
from hw.cost import Resources
from hw.delay import delayed
from hw.units.product import product_resources, registered_product
from hw.units.rounding import SaturatingShift, saturated
from quant.contract import ACT_BITS, OUT_SHIFT_MAX, PRE_BITS, THREE_BITS, ZERO_BITS

#: Bits of the second shift.
OUT_SHIFT_BITS = ceil_log2(OUT_SHIFT_MAX + 1)
#: Bits of the residual's zero point with its sign turned.
CENTRE_BITS = DESCRIPTOR["res_zero"].width + 1
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
    are made of lookup tables, in as many cycles. A pure pipeline: a new value each cycle, ``latency`` cycles. What is needed
    late is taken late, so that no lane has a delay line for it.

    Parameters
    ----------
    dsp : bool
        Product and sum are a DSP's.

    Members
    -------
    t : In(signed(PRE_BITS))
        What the first step gave.
    three : In(THREE_BITS)
        The channel's constant of a hardswish, its residual's multiplier or the reciprocal of its divisor.
    r : In(signed(ACT_BITS))
        The residual.
    act : In(Act), centre : In(signed(CENTRE_BITS))
        The layer's constants; ``centre`` is ``-res_zero`` for RESIDUAL, else 0.
    out_shift : In(OUT_SHIFT_BITS)
        The layer's second shift, ``shift_after`` cycles after ``t``.
    zero : In(signed(ZERO_BITS))
        The channel's zero point, ``zero_after`` cycles after ``t``.
    logits : In(1)
        The layer keeps ``t``, ``logits_after`` cycles after ``t``; ``act`` is NONE.
    q : Out(signed(ACT_BITS))
        The result; the lower part of ``t`` for logits.
    o : Out(signed(PRE_BITS))
        ``t`` for logits, else ``q``.
    t_out : Out(signed(PRE_BITS))
        ``t`` in the cycle of ``q``, where ``act`` is NONE: what the Z buffer keeps.
    """

    #: Registers up to the sum: clamp, operands, product, sum.
    _SUM_CYCLES = 4
    #: Cycles from ``t`` to ``out_shift``.
    shift_after = _SUM_CYCLES
    #: Cycles from ``t`` to ``zero``.
    zero_after = shift_after + SaturatingShift.latency
    #: Cycles from ``t`` to ``logits``; the one before rounds and adds the zero point.
    logits_after = zero_after + 1
    #: Cycles from ``t`` to ``q``, ``o`` and ``t_out``; the last one saturates.
    latency = logits_after + 1

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
                "centre": In(signed(CENTRE_BITS)),
                "logits": In(1),
                "q": Out(signed(ACT_BITS)),
                "o": Out(signed(PRE_BITS)),
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
        x1 = Signal(signed(PRE_BITS), reset_less=True)
        m.d.sync += [
            lifted.eq(self.t + self.three),
            above.eq(self.t > self.three),  # t + three > 2 * three
            x1.eq(self.centre + Mux(self.act == Act.RESIDUAL, self.r, self.t)),
        ]

        # Where an operand counts for nothing its register is reset, which takes no lookup table: y in NONE, too, so that x may be
        # anything.
        x = delayed(m, x1, 1, "x")
        y = Signal(THREE_BITS + 1, reset_less=True)
        z = Signal(signed(PRE_BITS), reset_less=True)
        gated = act1 == Act.HARDSWISH
        m.d.sync += [y.eq(Mux(gated, Mux(above, three1 << 1, lifted), three1)), z.eq(t1)]
        with m.If((act1 == Act.NONE) | gated & (lifted < 0)):
            m.d.sync += y.eq(0)
        with m.If(gated | (act1 == Act.QUOTIENT)):
            m.d.sync += z.eq(0)
        v = registered_product(m, x, y, "v", dsp=self.dsp, plus=z)

        m.submodules.shifter = shifter = SaturatingShift(len(v), OUT_SHIFT_BITS, _NEAR_BITS)
        m.d.comb += [shifter.i.eq(v), shifter.shift.eq(self.out_shift)]
        # The last bit rounds: it is added to itself at a place below the others, from where it carries.
        twice = Cat(shifter.magnitude ^ shifter.negative.replicate(_NEAR_BITS), shifter.negative).as_signed()
        total = Signal(signed(_NEAR_BITS + 1), reset_less=True)
        # Without a product the sum is t. Its delay is one of flip-flops, which have a reset: there are more of them than of
        # lookup tables.
        late = delayed(m, v[:PRE_BITS].as_signed(), self.logits_after - self._SUM_CYCLES, "late", reset=True)
        kept = Signal(signed(PRE_BITS), reset_less=True)
        m.d.sync += [
            total.eq((Cat(twice[0], self.zero).as_signed() + twice) >> 1),
            # Only one of both is kept, so that saturation and choice are one lookup table.
            kept.eq(Mux(self.logits, late, saturated(total, ACT_BITS))),
        ]
        m.d.comb += [
            self.q.eq(kept[:ACT_BITS].as_signed()),
            self.o.eq(kept),
            self.t_out.eq(delayed(m, late, 1, "t_out", reset=True)),
        ]
        return m
