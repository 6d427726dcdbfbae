"""The way of a result's words to their banks, which all activation buffers have in common."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import MAX_FOLD
from hw.cost import Resources
from hw.delay import delayed
from hw.interfaces import FOLD_BITS, GROUP_BITS, PIXEL_BITS, RING_BITS, ROW_BITS, words, write_layout
from hw.memory.bank_rows import BankRows
from hw.memory.rotate import Rotator


def row_bits(config: AcceleratorConfig) -> int:
    """Bits of a row of the deepest buffer of one sub-buffer."""
    return ceil_log2(max(config.d_rows, config.x_rows, config.y_rows, config.o_rows))


def most_turns(config: AcceleratorConfig, wide: int) -> int:
    """Rows of ``wide`` channel groups that a write reaches beyond its first one."""
    return (config.l + wide - 2) // wide


def placed_layout(config: AcceleratorConfig, wide: int) -> data.StructLayout:
    """A write by bank.

    ``mask`` marks the banks that are written. ``rows`` are those of a buffer of one sub-buffer, counted from its tensor's
    base. In one of ``wide`` the word belongs to sub-buffer ``sub``; its channel group's row lies ``turns`` channel groups' beyond
    the first one's, and the pixel's is that of pixel ``px``, or its sub-buffer's next one where ``next`` is set.
    """
    return data.StructLayout({
        "mask": config.l,
        "rows": data.ArrayLayout(row_bits(config), config.l),
        "sub": data.ArrayLayout(exact_log2(wide), config.l),
        "turns": data.ArrayLayout(ceil_log2(most_turns(config, wide) + 1), config.l),
        "next": config.l,
        "words": words(config),
    })


class PlacedSignature(wiring.Signature):
    """A write into one buffer.

    Members
    -------
    valid : Out(1)
        The write happens: this buffer is a destination of what :class:`Placement` is given in this cycle.
    base : Out(ROW_BITS)
        First row of the tensor.
    px, cg, rows, fold, ring : Out
        As :class:`Placement` is given them; only for a buffer of several sub-buffers.
    placed : Out(placed_layout)
        The words by bank, ``Placement.latency`` cycles later.
    """

    def __init__(self, config: AcceleratorConfig, wide: int):
        own = {"px": PIXEL_BITS, "cg": GROUP_BITS, "rows": ROW_BITS, "fold": FOLD_BITS, "ring": RING_BITS}
        super().__init__({
            "valid": Out(1),
            "base": Out(ROW_BITS),
            "placed": Out(placed_layout(config, wide if wide > 1 else config.wide)),
            **({name: Out(bits) for name, bits in own.items()} if wide > 1 else {}),
        })


class Placement(wiring.Component):
    """Moves a write's words to their banks, and tells what each bank's row depends on but the tensor's base.

    A result may go to two buffers, at different bases, and both have the same banks for it: so all buffers share a rotator.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.
    wide : int
        Sub-buffers of the wide buffer, a power of two; ``config.wide`` by default.

    Members
    -------
    write : In(write_layout)
        What is written, one a cycle. ``base`` does not count.
    amount : Out(log2 l)
        Lanes to rotate by, a cycle later.
    placed : Out(placed_layout)
        By bank, ``latency`` cycles later.
    """

    latency = 1 + Rotator.latency

    def __init__(self, config: AcceleratorConfig, wide: int | None = None):
        self.config, self.wide = config, wide or config.wide
        super().__init__({
            "write": In(write_layout(config)),
            "amount": Out(exact_log2(config.l)),
            "placed": Out(placed_layout(config, self.wide)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The multiplier of the first channel group's row."""
        return BankRows.resources(row_bits(config))

    def elaborate(self, platform: object) -> Module:
        """Step 1: each slot's sub-buffer; steps 2 and 3: slot i to bank (i + first) mod l. Rows are found meanwhile."""
        m = Module()
        write, layout, lanes = self.write, placed_layout(self.config, self.wide), self.config.l
        m.submodules.rows = rows = BankRows(lanes, row_bits(self.config))
        m.d.comb += [
            rows.px.eq(write.px),
            rows.cg.eq(write.cg),
            rows.rows.eq(write.rows),
            rows.skew.eq(write.split),
            rows.split.eq(write.split),
            rows.ring.eq(write.ring),
            self.placed.rows.eq(delayed(m, rows.row, self.latency - BankRows.latency, "rows")),
        ]
        slot = data.StructLayout({
            "mask": 1,
            "sub": layout["sub"].shape.elem_shape,
            "turns": layout["turns"].shape.elem_shape,
            "next": 1,
            "word": layout["words"].shape.elem_shape,
        })
        slots = Signal(data.ArrayLayout(slot, lanes), reset_less=True)
        self._elaborate_slots(m, slots)
        m.submodules.rotator = rotator = Rotator(slot, lanes)
        m.d.sync += self.amount.eq(-(write.px + (write.cg << write.split)))
        m.d.comb += [rotator.i.eq(slots), rotator.amount.eq(self.amount)]
        for bank, here in enumerate(rotator.o):
            m.d.comb += [
                self.placed.mask[bank].eq(here.mask),
                self.placed.sub[bank].eq(here.sub),
                self.placed.turns[bank].eq(here.turns),
                self.placed.next[bank].eq(here.next),
                self.placed.words[bank].eq(here.word),
            ]
        return m

    def _elaborate_slots(self, m: Module, slots: data.View) -> None:
        write, bits, wide_bits = self.write, exact_log2(self.config.l), exact_log2(self.wide)
        # Chunks of l pixels: a folded channel group has them in turn in its sub-buffers, and the last one's next is a row on.
        chunk_low, full = Signal(MAX_FOLD), Signal()
        m.d.comb += [
            chunk_low.eq((write.px >> bits) & fold_mask(write.fold)),
            full.eq(chunk_low == fold_mask(write.fold)),
        ]
        for i, slot in enumerate(slots):
            pixel, channel = Signal(bits, name=f"pixel_{i}"), Signal(bits, name=f"channel_{i}")
            with m.Switch(write.split):
                for split in range(bits + 1):
                    with m.Case(split):
                        m.d.comb += [pixel.eq(i & ((1 << split) - 1)), channel.eq(i >> split)]
            group, passes = Signal(wide_bits + bits + 1, name=f"group_{i}"), Signal(name=f"passes_{i}")
            m.d.comb += [group.eq(write.cg[:wide_bits] + channel), passes.eq((write.px[:bits] + pixel) >> bits)]
            m.d.sync += [
                slot.mask.eq(write.mask[i]),
                slot.sub.eq(self._sub_buffer(m, group, chunk_low + passes, i)),
                slot.turns.eq(group >> wide_bits),
                slot.next.eq(passes & full),
                slot.word.eq(write.words[i]),
            ]

    def _sub_buffer(self, m: Module, group: Value, chunk: Value, slot: int) -> Value:
        """The sub-buffer of a channel group's chunk."""
        bits = exact_log2(self.wide)
        found = Signal(bits, name=f"sub_{slot}")
        m.d.comb += found.eq(group[:bits])
        with m.Switch(self.write.fold):
            for value in range(1, min(bits, MAX_FOLD) + 1):
                with m.Case(value):
                    m.d.comb += found.eq(Cat(group[: bits - value], chunk[:value]))
        return found


def fold_mask(fold: Value) -> Value:
    """``2^fold - 1``."""
    return Mux(fold == MAX_FOLD, (1 << MAX_FOLD) - 1, Mux(fold == 1, 1, 0))
