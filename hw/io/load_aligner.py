"""LOAD's own way to its buffer, beside that of post-processing's results."""

from amaranth import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.cost import Resources
from hw.delay import delayed
from hw.interfaces import words, write_layout
from hw.io.loader import Loader, unfold_split
from hw.memory.bank_rows import BankRows
from hw.memory.placement import Placement, placed_layout, row_bits

#: Neighbouring banks among which a word finds its place first.
NEAR = 4


class LoadAligner(wiring.Component):
    """Puts LOAD's words where :class:`hw.memory.placement.Placement` has none for the buffer, in the same cycles.

    Words move by less than :data:`NEAR` banks first. Then each bank keeps what the words that far apart would bring it,
    all but one of them cleared by their registers; so a multiplexer of as many inputs, and that between LOAD and
    post-processing, is a single lookup table.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.

    Members
    -------
    valid : In(1), load : In(write_layout)
        LOAD writes. ``split`` and ``fold`` do not count, nor does ``base``.
    placed : In(placed_layout)
        What post-processing writes, ``Placement.latency`` cycles after it was placed.
    o : Out(placed_layout)
        What LOAD wrote ``Placement.latency`` cycles ago, or else ``placed``.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__({
            "valid": In(1),
            "load": In(write_layout(config)),
            "placed": In(placed_layout(config, config.wide)),
            "o": Out(placed_layout(config, config.wide)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The multiplier of the first channel group's row, where there is more than one to begin with."""
        return BankRows.resources(row_bits(config)) if Loader.parts(config) > 1 else Resources()

    def elaborate(self, platform: object) -> Module:
        """Step 1: registers; step 2: among neighbours; step 3: by quarters, or so."""
        m = Module()
        config, load, lanes = self.config, self.load, self.config.l
        near, split = exact_log2(NEAR), unfold_split(config)
        cg = load.cg if Loader.parts(config) > 1 else Const(0)
        slot = data.StructLayout({"mask": 1, "word": words(config).elem_shape})
        slots = Signal(data.ArrayLayout(slot, lanes), reset_less=True)
        amount = Signal(exact_log2(lanes))
        m.d.sync += amount.eq(-(load.px + (cg << split)))
        for i, here in enumerate(slots):
            m.d.sync += [here.mask.eq(load.mask[i]), here.word.eq(load.words[i])]
        aligned = Signal.like(slots, reset_less=True)
        for i in range(lanes):
            with m.Switch(amount[:near]):
                for step in range(NEAR):
                    with m.Case(step):
                        m.d.sync += aligned[i].eq(slots[(i + step) % lanes])
        far = Signal(range(max(2, lanes // NEAR)))
        m.d.sync += far.eq(amount >> near)
        valid = [delayed(m, self.valid, cycle, f"valid_{cycle}", reset=True) for cycle in range(1, Placement.latency + 1)]

        m.submodules.rows = rows = BankRows(lanes, row_bits(config))
        m.d.comb += [
            rows.px.eq(load.px),
            rows.cg.eq(cg),
            rows.rows.eq(load.rows),
            rows.skew.eq(split),
            rows.split.eq(split),
            rows.ring.eq(load.ring),
            self.o.eq(self.placed),
        ]
        loads = valid[Placement.latency - 1]
        # What resets a register must be as it is needed: inverters would be one for each bit.
        idle = delayed(m, ~self.valid, BankRows.latency, "idle")
        for bank in range(lanes):
            row = Signal(row_bits(config), name=f"row_{bank}", reset_less=True)
            with m.If(idle):
                m.d.sync += row.eq(0)
            with m.Else():
                m.d.sync += row.eq(rows.row[bank])
            found = 0
            for step in range(lanes // NEAR):
                kept = Signal(slot, name=f"kept_{bank}_{step}", reset_less=True)
                with m.If(valid[1] & (far == step)):
                    m.d.sync += kept.eq(aligned[(bank + NEAR * step) % lanes])
                with m.Else():
                    m.d.sync += kept.eq(0)
                found |= kept.as_value()
            own = data.View(slot, found)
            m.d.comb += [
                self.o.mask[bank].eq(own.mask | (self.placed.mask[bank] & ~loads)),
                self.o.words[bank].eq(own.word.as_value() | Mux(loads, 0, self.placed.words[bank].as_value())),
                self.o.rows[bank].eq(row | Mux(loads, 0, self.placed.rows[bank])),
            ]
        return m
