"""What the lanes of an R-MAC block have in common: a tap, K's values, or the word of a joint task's pixel."""

from amaranth import Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.delay import delayed
from hw.engines.mat import weight_row
from hw.interfaces import words
from hw.units.chosen import chosen
from quant.contract import ACT_BITS

#: Lanes among which a lookup table of six inputs chooses.
_WAYS = 4


class SharedOperands(wiring.Component):
    """The shared operand of every block (`hw.engines.mac_block`), one cycle after what it is made of; ``x`` comes as late itself.

    A pure pipeline. Each source has a register that is reset where it does not count, so that the operand is what they have
    together: ``x`` where ``joint``, otherwise the taps of ``lane`` where ``depthwise``, otherwise K after its relu. Block ``b``
    has channel ``b mod m`` of K, of the pixels from ``b div m * m`` on.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.

    Members
    -------
    joint, depthwise : In(1)
        Which source counts.
    x : In(words)
        The word of each block, a cycle later than the others.
    weights : In(weight_row), lane : In(log2 t)
        A row of the weight ring, and the lane that has the tap.
    k_words : In(words), lanes : In(l)
        K, and the pixels of it that exist.
    o : Out(ArrayLayout(ArrayLayout(int8, s), l))
        ``[block][input]``, ``latency`` cycles later.
    """

    #: Cycles from the sources but ``x`` to ``o``.
    latency = 1

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__({
            "joint": In(1),
            "depthwise": In(1),
            "x": In(words(config)),
            "weights": In(weight_row(config)),
            "lane": In(exact_log2(config.t)),
            "k_words": In(words(config)),
            "lanes": In(config.l),
            "o": Out(data.ArrayLayout(data.ArrayLayout(signed(ACT_BITS), config.s), config.l)),
        })

    def elaborate(self, platform: object) -> Module:
        """Registers that are reset, and what they have together."""
        m = Module()
        config, size = self.config, self.config.m
        joint = delayed(m, self.joint, 1, "joint")
        near = exact_log2(min(_WAYS, config.t))
        for block in range(config.l):
            found = Mux(joint, Value.cast(self.x[block]), 0)
            rows = [Value.cast(row) for row in self.weights[block]]
            for quarter in range(config.t >> near):
                # What resets a register must be as it is needed: inverters would be one for each bit.
                idle = Signal(name=f"no_tap_{block}_{quarter}")
                m.d.comb += idle.eq(~self.depthwise | self.joint | (self.lane[near:] != quarter))
                tap = Signal(len(rows[0]), name=f"tap_{block}_{quarter}", reset_less=True)
                of_quarter = rows[quarter << near : quarter + 1 << near]
                m.d.sync += tap.eq(Mux(idle, 0, chosen(self.lane[:near], *of_quarter)))
                found |= tap
            for s in range(config.s):
                pixel = block // size * size + s
                value = self.k_words[pixel][block % size]
                idle = Signal(name=f"no_key_{block}_{s}")
                m.d.comb += idle.eq(self.depthwise | self.joint | ~self.lanes[pixel] | value[-1])
                key = Signal(value.shape(), name=f"key_{block}_{s}", reset_less=True)
                m.d.sync += key.eq(Mux(idle, 0, value))
                m.d.comb += self.o[block][s].eq(found.word_select(s, ACT_BITS) | key)
        return m
