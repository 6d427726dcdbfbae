"""The operands of MAT's blocks: weights or what the Z buffer holds, and the word of each block's pixel."""

from collections.abc import Mapping, Sequence

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Opcode
from hw.interfaces import words
from hw.io.stream_decoder import weight_word
from hw.memory.z_buffer import ksum_layout, z_layout
from hw.units.chosen import chosen
from quant.contract import LOW_BITS

#: What of a task the operands need.
OPERAND_TASK = data.StructLayout({name: DESCRIPTOR[name].shape for name in ("opcode", "lp", "relu", "wide")})
#: Sources that a lookup table of six inputs chooses among for a bit.
_WAYS = 4


def weight_row(config: AcceleratorConfig) -> data.ArrayLayout:
    """A row of a weight ring: ``[block][lane][input]`` int8."""
    return data.ArrayLayout(weight_word(config), config.l)


class _Choices:
    """Multiplexers that the task sets: what they choose by is registered a cycle ahead, so that it takes none of their inputs.

    Parameters
    ----------
    m : Module
        Where they are built.
    cases : sequence of Value
        What the task of the next cycle may be, one of them at most.
    sources : mapping
        What there is to choose among, by name.
    """

    def __init__(self, m: Module, cases: Sequence[Value], sources: Mapping[str, Value]):
        self._m, self._cases, self._sources = m, cases, dict(sources)
        #: What a shared one gives in each case, by its name.
        self._shared: dict[str, list[str | None]] = {}

    def among(self, name: str, default: str, by_case: Sequence[str]) -> Value:
        """The source that ``by_case`` names for the case that holds, and ``default`` where none does.

        Where there are more than a lookup table takes, one of their own picks among the first ones; who has these in common
        shares it.
        """
        others = list(dict.fromkeys(by_case))
        while len(others) >= _WAYS:
            first, others = others[:_WAYS], others[_WAYS:]
            shared = self._among_shared(name, first, by_case)
            others.insert(0, shared)
            by_case = [shared if source in first else source for source in by_case]
        return self._pick(name, [default, *others], by_case)

    def _among_shared(self, name: str, sources: Sequence[str], by_case: Sequence[str]) -> str:
        """The name of one of ``sources``, which no case needs that asks for something else."""
        wanted = [source if source in sources else None for source in by_case]
        for shared, given in self._shared.items():
            if all(one in (other, None) for one, other in zip(wanted, given, strict=True)):
                return shared
        shared = f"{name}_shared"
        self._sources[shared] = self._pick(shared, sources, by_case)
        self._shared[shared] = wanted
        return shared

    def _pick(self, name: str, sources: Sequence[str], by_case: Sequence[str]) -> Value:
        """One of up to four sources, the first one where no case asks for another."""
        if len(sources) == 1:
            return self._sources[sources[0]]
        bits = ceil_log2(len(sources))
        code = Signal(bits, name=f"{name}_code", reset_less=True)
        for bit in range(bits):
            having = [source for place, source in enumerate(sources) if place >> bit & 1]
            asking = [case for case, source in zip(self._cases, by_case, strict=True) if source in having]
            self._m.d.sync += code[bit].eq(Cat(asking).any())
        values = [self._sources[source] for source in sources]
        return chosen(code, *values, *values[-1:] * ((1 << bits) - len(values)))


class MatOperands(wiring.Component):
    """Which operands meet in each block (docs/architecture.md, sections 3 and 4); no cycle passes but for ``ahead`` and ``x``.

    The word of a block is that of its pixel. Its weights are the ring's but for QZ, which has those of its channel group in Z
    (what is ``wide`` has the upper parts in the lower half of the blocks, the lower parts in the upper half), and DIV, whose
    lanes 0 and 1 have the parts of the sums of keys. DIV's other lanes, whose results nobody reads, have any operands.

    A block has a lookup table for each bit of its weights: of a head's one, two, four, .. channel groups, as many as the blocks
    can hold, few meet any one block. Blocks of the upper half have more, which neighbours choose among in common.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.

    Members
    -------
    ahead : In(OPERAND_TASK)
        The task of the next cycle's operands.
    words : In(words)
        What was read: word ``i`` is that of pixel slot ``i``.
    weights : In(weight_row)
        A row of the weight ring.
    z, z_low, ksum, ksum_low : In(...)
        A row of the Z buffer.
    x : Out(words)
        The word of each block, after the relu, ``x_latency`` cycles later: a negative value resets its register.
    private : Out(weight_row)
        The other operands.
    """

    #: Cycles from ``words`` to ``x``.
    x_latency = 1

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__(
            {
                "ahead": In(OPERAND_TASK),
                "words": In(words(config)),
                "weights": In(weight_row(config)),
                "z": In(z_layout(config)),
                "z_low": In(z_layout(config, unsigned(LOW_BITS))),
                "ksum": In(ksum_layout(config)),
                "ksum_low": In(ksum_layout(config)),
                "x": Out(words(config)),
                "private": Out(weight_row(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """The words, then the weights."""
        m = Module()
        self._elaborate_words(m)
        self._elaborate_weights(m)
        return m

    def _elaborate_words(self, m: Module) -> None:
        config = self.config
        splits = range(1, exact_log2(config.l) + 1)
        sources = {f"slot_{slot}": Value.cast(self.words[slot]) for slot in range(config.l)}
        choices = _Choices(m, [self.ahead.lp == split for split in splits], sources)
        relu = Signal(reset_less=True)
        m.d.sync += relu.eq(self.ahead.relu)
        for block in range(config.l):
            word = Signal(self.words.shape().elem_shape, name=f"word_{block}")
            by_split = [f"slot_{block & ((1 << split) - 1)}" for split in splits]
            m.d.comb += Value.cast(word).eq(choices.among(f"word_{block}", "slot_0", by_split))
            for c in range(config.m):
                x = Signal(word[c].shape(), name=f"x_{block}_{c}", reset_less=True)
                m.d.sync += x.eq(Mux(relu & (word[c] < 0), 0, word[c]))
                m.d.comb += self.x[block][c].eq(x)

    def _elaborate_weights(self, m: Module) -> None:
        config, ahead, half = self.config, self.ahead, self.config.l // 2
        is_div = ahead.opcode == Opcode.DIV
        divides = Signal(reset_less=True)
        m.d.sync += divides.eq(is_div)
        # DIV is a product with the first group of Z, in whose place it finds the sums of keys.
        first = Signal(self.z.shape().elem_shape)
        m.d.comb += first.eq(self.z[0])
        with m.If(divides):
            for lane, part in enumerate((self.ksum, self.ksum_low)):
                m.d.comb += [to.eq(value) for to, value in zip(first[lane], part, strict=True)]
        upper = [first, *(self.z[group] for group in range(1, config.max_groups))]
        lower = Signal(self.z.shape())
        for group in range(config.max_groups):
            for lane in range(config.n):
                m.d.comb += [to.eq(low) for to, low in zip(lower[group][lane], self.z_low[group][lane], strict=True)]
        sources = {
            **{f"upper_{group}": Value.cast(part) for group, part in enumerate(upper)},
            **{f"lower_{group}": Value.cast(lower[group]) for group in range(config.max_groups)},
            **{f"weights_{block}": Value.cast(self.weights[block]) for block in range(config.l)},
        }
        # Heads have 1, 2, 4, .. groups; each takes as many blocks, or twice as many.
        narrow, wide = (
            [split for split in range(exact_log2(slots), -1, -1) if slots >> split <= config.max_groups]
            for slots in (config.l, half)
        )
        is_qz = ahead.opcode == Opcode.QZ
        cases = [
            is_div,
            *(is_qz & ~ahead.wide & (ahead.lp == split) for split in narrow),
            *(is_qz & ahead.wide & (ahead.lp == split) for split in wide),
        ]
        choices = _Choices(m, cases, sources)
        for block in range(config.l):
            part, slot = ("upper", block) if block < half else ("lower", block - half)
            by_case = [
                "upper_0",
                *(f"upper_{block >> split}" for split in narrow),
                *(f"{part}_{slot >> split}" for split in wide),
            ]
            m.d.comb += Value.cast(self.private[block]).eq(choices.among(f"private_{block}", f"weights_{block}", by_case))
