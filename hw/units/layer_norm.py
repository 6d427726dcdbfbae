"""LayerNorm's accumulators from a vector that is streamed twice (integer contract, section 6)."""

from amaranth import Module, Mux, Signal, signed, unsigned
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
    """``acc = n * gamma`` of a vector; ``bias`` and scale follow in post-processing.

    The first pass sums the vector and its squares, then the reciprocal of the deviation is computed once, then the second pass
    normalizes. Words come one a cycle at most, in any rhythm. As it works once a picture, only its widest products are
    DSPs': with words of 8 channels Yosys (synth_xilinx -family xcup) infers 20 DSP48E2.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes: the channels of a word.

    Members
    -------
    clear : In(1)
        Forget the sums, lower ``ready``; not later than the first pass's first word, and while nothing is under way.
    count : In
        Elements of the vector, at most ``COUNT_MAX``; stable from ``finish`` to the last result.
    sum_valid : In(1), sum_word : In(ArrayLayout(signed(ACT_BITS), m)), sum_lanes : In(m)
        A word of the first pass, and which of its channels count.
    finish : In(1)
        The first pass is over: a strobe with its last word or later.
    ready : Out(1)
        The second pass may begin: from ``finish_cycles`` after ``finish`` until ``clear``.
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
            "clear": In(1),
            "count": In(DESCRIPTOR["count"].width),
            "sum_valid": In(1),
            "sum_word": In(word),
            "sum_lanes": In(config.m),
            "finish": In(1),
            "ready": Out(1),
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
    def finish_cycles(self) -> int:
        """Cycles from ``finish`` to ``ready``."""
        return self._SUM_CYCLES + self._VARIANCE_CYCLES + self._isqrt.cycles + self._reciprocal.cycles + 1

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
        self._normalize(m, total, inverse)
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
        with m.If(delayed(m, self.sum_valid, 2, "sum_valid_total", reset=True)):
            m.d.sync += total.eq(total + word_total)
        with m.If(delayed(m, self.sum_valid, self._SUM_CYCLES - 1, "sum_valid_squares", reset=True)):
            m.d.sync += squares.eq(squares + word_squares)
        with m.If(self.clear):
            m.d.sync += [total.eq(0), squares.eq(0)]
        return total, squares

    def _deviation(self, m: Module, total: Signal, squares: Signal) -> Signal:
        """Between the passes: variance, deviation, reciprocal."""
        m.submodules.isqrt = isqrt = self._isqrt
        m.submodules.reciprocal = reciprocal = self._reciprocal
        # The difference is never negative, so the products may be taken modulo its width.
        total1, squares1 = delayed(m, total, 1, "total"), delayed(m, squares, 1, "squares")
        count1 = delayed(m, self.count, 1, "count")
        scaled = Signal(_VARIANCE_BITS, reset_less=True)
        squared = Signal(_VARIANCE_BITS, reset_less=True)
        variance = Signal(_VARIANCE_BITS, reset_less=True)
        m.d.sync += [scaled.eq(count1 * squares1), squared.eq(total1 * total1), variance.eq(scaled - squared)]
        m.d.comb += [
            isqrt.start.eq(delayed(m, self.finish, self._SUM_CYCLES + self._VARIANCE_CYCLES, "finish", reset=True)),
            isqrt.value.eq(variance),
            reciprocal.start.eq(isqrt.done),
            reciprocal.divisor.eq(Mux(isqrt.root == 0, 1, isqrt.root)),
        ]
        with m.If(reciprocal.done):
            m.d.sync += self.ready.eq(1)
        with m.If(self.clear):
            m.d.sync += self.ready.eq(0)
        return reciprocal.inverse

    def _normalize(self, m: Module, total: Signal, inverse: Signal) -> None:
        """Second pass."""
        m.d.comb += self.o_valid.eq(delayed(m, self.norm_valid, self.latency, "norm_valid", reset=True))
        for channel in range(self.config.m):
            value = delayed(m, self.norm_word[channel], 1, f"value_{channel}")
            centred = registered_product(m, self.count, value, f"centred_{channel}", dsp=False, plus=-total)
            product = Signal((centred * inverse).shape(), name=f"product_{channel}", reset_less=True)
            m.d.sync += product.eq(centred * inverse)
            late = delayed(m, product, 1, f"product_{channel}")
            normal = Signal(signed(NORM_BITS), name=f"normal_{channel}", reset_less=True)
            m.d.sync += normal.eq(saturated(halved(late >> (NORM_SHIFT - 1)), NORM_BITS))
            gamma = delayed(m, self.norm_gamma[channel], self.latency - 2, f"gamma_{channel}")
            m.d.comb += self.o[channel].eq(registered_product(m, normal, gamma, f"weighted_{channel}", dsp=False))
