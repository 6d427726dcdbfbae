"""LayerNorm's accumulators from vectors that are streamed twice (integer contract, section 6)."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.hdl import Shape, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR
from hw.cost import Resources
from hw.delay import delayed
from hw.units.isqrt import IntegerSquareRoot
from hw.units.product import logic_product, product_resources, registered_product
from hw.units.reciprocal import Reciprocal
from hw.units.rounding import halved, saturated
from quant.contract import ACC_BITS, ACT_BITS, GAMMA_BITS

#: Longest vector (section 8).
COUNT_MAX = 4096
#: Right shift after the multiplication by the reciprocal, and signed bits of the normalized value.
NORM_SHIFT = 21
NORM_BITS = 16

_LARGEST = 1 << (ACT_BITS - 1)
_SUM_SHAPE = range(-_LARGEST * COUNT_MAX, _LARGEST * COUNT_MAX)
_SQUARE_SHAPE = range(_LARGEST * _LARGEST + 1)
_SQUARES_SHAPE = range(_LARGEST * _LARGEST * COUNT_MAX + 1)
_VARIANCE_BITS = (_LARGEST * _LARGEST * COUNT_MAX * COUNT_MAX).bit_length()


def _total(values: list[Value]) -> Value:
    """The sum as a balanced tree."""
    while len(values) > 1:
        values = [one + two for one, two in zip(values[::2], values[1::2], strict=True)]
    return values[0]


class LayerNormCore(wiring.Component):
    """``acc = n * gamma`` of vectors one after the other; ``bias`` and scale follow in post-processing.

    The first pass sums a vector and its squares, then the reciprocal of its deviation is computed once, then the second pass
    normalizes. Time is cut into phases by ``last``: each has at most one vector's first pass, and at most another one's second
    pass, that of the vector whose first pass was two phases before; both passes' words may come in the same cycles. Between
    them lies the phase in which the deviation is computed. Words come one a cycle at most, in any rhythm, and the next phase's
    at once. As it works once a picture, only its widest products are DSPs': with words of 8 channels Yosys (synth_xilinx
    -family xcup) infers 20 DSP48E2.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes: the channels of a word.

    Members
    -------
    count : In
        Elements of each vector, at most ``COUNT_MAX``; stable from the first word to the last result.
    sum_valid : In(1), sum_first : In(1), sum_word : In(ArrayLayout(signed(ACT_BITS), m)), sum_lanes : In(m)
        A word of the first pass, whether it is the vector's first one, and which of its channels count.
    last : In(1)
        A phase ends: a strobe with the last words of both passes, or without a word. Behind one with a word of the first pass
        the next one comes later than ``done``.
    done : Out(1)
        The deviation is known: a strobe ``deviation_cycles`` after ``last`` with a word of the first pass.
    norm_valid : In(1), norm_word : In(ArrayLayout(signed(ACT_BITS), m)), norm_gamma : In(ArrayLayout(signed(GAMMA_BITS), m))
        A word of the second pass, and its channels' factors.
    o_valid : Out(1), o : Out(ArrayLayout(signed(ACC_BITS), m))
        The accumulators of a word of the second pass, ``latency`` cycles after it.
    """

    #: Cycles from a word of the first pass to its sums: word, squares, their sum over the word, sums.
    _SUM_CYCLES = 4
    #: Cycles from the sums to the variance: operands, products and difference, all registered.
    _VARIANCE_CYCLES = 3
    #: Cycles from ``norm_valid`` to ``o_valid``: word, product, centred value, product twice, rounding, product twice.
    latency = 8

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        word = data.ArrayLayout(signed(ACT_BITS), config.m)
        super().__init__({
            "count": In(DESCRIPTOR["count"].width),
            "sum_valid": In(1),
            "sum_first": In(1),
            "sum_word": In(word),
            "sum_lanes": In(config.m),
            "last": In(1),
            "done": Out(1),
            "norm_valid": In(1),
            "norm_word": In(word),
            "norm_gamma": In(data.ArrayLayout(signed(GAMMA_BITS), config.m)),
            "o_valid": Out(1),
            "o": Out(data.ArrayLayout(signed(ACC_BITS), config.m)),
        })
        self._isqrt = IntegerSquareRoot(_VARIANCE_BITS)
        self._reciprocal = Reciprocal(self._isqrt.root_bits)

    @property
    def parts(self) -> tuple[IntegerSquareRoot, Reciprocal]:
        """The sequential units."""
        return self._isqrt, self._reciprocal

    @property
    def deviation_cycles(self) -> int:
        """Cycles from a vector's ``last`` to ``done``."""
        return self._SUM_CYCLES + self._VARIANCE_CYCLES + self._isqrt.cycles + self._reciprocal.cycles

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """Two a channel for the wide product, four for the variance; square, centring and gamma are lookup tables'."""
        luts = (
            product_resources(signed(ACT_BITS), signed(ACT_BITS), dsp=False)
            + product_resources(unsigned(DESCRIPTOR["count"].width), signed(ACT_BITS), dsp=False, plus=Shape.cast(_SUM_SHAPE))
            + product_resources(signed(NORM_BITS), signed(GAMMA_BITS), dsp=False)
        )
        return (Resources(dsp=2) + luts) * config.m + Resources(dsp=4)

    def elaborate(self, platform: object) -> Module:
        """Both passes and what lies between them."""
        m = Module()
        total, squares = self._sums(m)
        inverse = self._deviation(m, total, squares)
        self._normalize(m, *self._held(m, total, inverse))
        return m

    def _sums(self, m: Module) -> tuple[Signal, Signal]:
        """First pass."""
        total, squares = Signal(_SUM_SHAPE), Signal(_SQUARES_SHAPE)
        kept, square = [], []
        for channel in range(self.config.m):
            value = Signal(signed(ACT_BITS), name=f"kept_{channel}", reset_less=True)
            product = Signal(_SQUARE_SHAPE, name=f"square_{channel}", reset_less=True)
            m.d.sync += [
                value.eq(Mux(self.sum_lanes[channel], self.sum_word[channel], 0)),
                product.eq(logic_product(value, value)),
            ]
            kept.append(value)
            square.append(product)
        word_total = Signal(_total(kept).shape(), reset_less=True)
        word_squares = Signal(_total(square).shape(), reset_less=True)
        m.d.sync += [word_total.eq(_total(kept)), word_squares.eq(_total(square))]
        # A flip-flop a cycle: lookup tables' shift registers would be dearer.
        word = Cat(self.sum_valid, self.sum_first)
        valid, first = at_total = delayed(m, word, self._SUM_CYCLES - 2, "sum_total", reset=True)
        with m.If(valid):
            m.d.sync += total.eq(word_total + Mux(first, 0, total))
        valid, first = delayed(m, at_total, 1, "sum_squares", reset=True)
        with m.If(valid):
            m.d.sync += squares.eq(word_squares + Mux(first, 0, squares))
        return total, squares

    def _deviation(self, m: Module, total: Signal, squares: Signal) -> Signal:
        """Between the passes: variance, deviation, reciprocal."""
        m.submodules.isqrt = isqrt = self._isqrt
        m.submodules.reciprocal = reciprocal = self._reciprocal
        # The difference is never negative, so the products may be taken modulo its width. The sum of the squares comes a cycle
        # after the total, and both last a cycle when the next vector's words are there.
        total1, squares1 = delayed(m, total, 2, "total"), delayed(m, squares, 1, "squares")
        count1 = delayed(m, self.count, 1, "count")
        summed = self.last & self.sum_valid
        scaled = Signal(_VARIANCE_BITS, reset_less=True)
        squared = Signal(_VARIANCE_BITS, reset_less=True)
        variance = Signal(_VARIANCE_BITS, reset_less=True)
        m.d.sync += [scaled.eq(count1 * squares1), squared.eq(total1 * total1), variance.eq(scaled - squared)]
        m.d.comb += [
            isqrt.start.eq(delayed(m, summed, self._SUM_CYCLES + self._VARIANCE_CYCLES, "summed", reset=True)),
            isqrt.value.eq(variance),
            reciprocal.start.eq(isqrt.done),
            reciprocal.divisor.eq(Mux(isqrt.root == 0, 1, isqrt.root)),
            self.done.eq(reciprocal.done),
        ]
        return reciprocal.inverse

    def _held(self, m: Module, total: Signal, inverse: Signal) -> tuple[Signal, Signal]:
        """What the second pass has of its vector, the negative total and the reciprocal, each from its stage's first word on.

        In each phase they are those of the vector whose deviation was known when the phase before ended, and the total waits for
        a phase between.
        """
        waiting = Signal(_SUM_SHAPE, reset_less=True)
        minus = Signal((-total).shape(), reset_less=True)
        inverse_held = Signal.like(inverse, reset_less=True)
        # The word is registered, then meets the total; two cycles later what has become of it meets the reciprocal.
        next_total = delayed(m, self.last, 1, "last_total", reset=True)
        next_inverse = delayed(m, next_total, 2, "last_inverse", reset=True)
        with m.If(next_total):
            m.d.sync += minus.eq(-waiting)
        # In the same cycle the sum of the phase's first pass is complete.
        with m.If(next_inverse):
            m.d.sync += [inverse_held.eq(inverse), waiting.eq(total)]
        return minus, inverse_held

    def _normalize(self, m: Module, minus: Signal, inverse: Signal) -> None:
        """Second pass."""
        m.d.comb += self.o_valid.eq(delayed(m, self.norm_valid, self.latency, "norm_valid", reset=True))
        for channel in range(self.config.m):
            value = delayed(m, self.norm_word[channel], 1, f"value_{channel}")
            centred = registered_product(m, self.count, value, f"centred_{channel}", dsp=False, plus=minus)
            product = Signal((centred * inverse).shape(), name=f"product_{channel}", reset_less=True)
            m.d.sync += product.eq(centred * inverse)
            late = delayed(m, product, 1, f"product_{channel}")
            normal = Signal(signed(NORM_BITS), name=f"normal_{channel}", reset_less=True)
            m.d.sync += normal.eq(saturated(halved(late >> (NORM_SHIFT - 1)), NORM_BITS))
            gamma = delayed(m, self.norm_gamma[channel], self.latency - 2, f"gamma_{channel}")
            m.d.comb += self.o[channel].eq(registered_product(m, normal, gamma, f"weighted_{channel}", dsp=False))
