"""The wide activation buffer (H): skewed banks that read L pixels of T channel groups and write an Lp x Lc block in one cycle."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.hdl import ShapeLike, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import MAX_FOLD
from hw.cost import Resources, ram
from hw.delay import delayed
from hw.interfaces import FOLD_BITS, GROUP_BITS, PIXEL_BITS, RING_BITS, ROW_BITS, SPLIT_BITS, words
from hw.memory.bank_rows import BankRows, ring_mask
from hw.memory.placement import PlacedSignature, Placement, fold_mask, most_turns
from hw.memory.rotate import Rotator
from hw.units.chosen import chosen
from quant.contract import ACT_BITS


class WideReadSignature(wiring.Signature):
    """A read of ``wide`` channel groups at once: sub-buffer ``c`` answers for the channel group with index ``c`` mod ``wide``.

    Members
    -------
    valid : Out(1)
        A request, no back-pressure.
    px, base, rows, skew, ring : Out
        As in :class:`hw.interfaces.ReadSignature`.
    cg, cg2 : Out(GROUP_BITS)
        Two channel groups; only their part above ``wide`` counts.
    fold : Out(FOLD_BITS)
        log2 of the sub-buffers over which each channel group is spread, chunk by chunk of ``l`` pixels. Sub-buffer
        ``j * (wide >> fold) + g`` then answers for channel group ``g`` and the pixels from ``px + j * l`` on. ``skew`` must be
        ``l``, and there are no more than ``wide >> fold`` channel groups.
    pick2 : Out(wide)
        Sub-buffers that answer for ``cg2``; the others answer for ``cg``.
    gather : Out(1)
        Show the sub-buffers of both channel groups where few places have them (`gathered`), and nothing of meaning elsewhere.
        Only with ``fold`` 0.
    data : In(ArrayLayout(words, wide))
        ``[c][lane][channel]``, ``latency`` cycles later.
    """

    def __init__(self, config: AcceleratorConfig, wide: int):
        super().__init__({
            "valid": Out(1),
            "px": Out(signed(PIXEL_BITS + 2)),
            "cg": Out(GROUP_BITS),
            "cg2": Out(GROUP_BITS),
            "pick2": Out(wide),
            "gather": Out(1),
            "base": Out(ROW_BITS),
            "rows": Out(ROW_BITS),
            "skew": Out(SPLIT_BITS),
            "fold": Out(FOLD_BITS),
            "ring": Out(RING_BITS),
            "data": In(data.ArrayLayout(words(config), wide)),
        })


def gathered(wide: int) -> tuple[range, range]:
    """Places in ``data`` of the sub-buffers for ``cg`` and ``cg2`` with ``gather``: of each range that of the group's rest."""
    places = max(1, wide >> MAX_FOLD)
    return range(places), range(wide // 2, wide // 2 + places)


class ActBuffer(wiring.Component):
    """The activation buffer H (docs/architecture.md, section 2): ``wide`` sub-buffers of ``l`` banks of one word.

    Reading and writing never meet: one port each. A word written is readable by requests ``write_latency`` cycles after its
    write.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.
    rows : int
        Rows of a bank.
    wide : int
        Sub-buffers, a power of two, at least 2.

    Members
    -------
    read : In(WideReadSignature)
        Answers ``read_latency`` cycles later.
    write : In(PlacedSignature)
        One a cycle.
    """

    #: Cycles from a read request to its data.
    read_latency = 6
    #: Cycles after a write from which a read request sees it, those in :class:`Placement` included.
    write_latency = Placement.latency + 2

    def __init__(self, config: AcceleratorConfig, rows: int, wide: int):
        self.config = config
        self.rows = rows
        self.wide = wide
        super().__init__({
            "read": In(WideReadSignature(config, wide)),
            "write": In(PlacedSignature(config, wide)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig, rows: int, wide: int) -> Resources:
        """The banks, and a multiplier for each channel group addressed: two read and one written."""
        banks = ram(unsigned(config.m * ACT_BITS), rows) * (config.l * wide)
        return banks + BankRows.resources(ceil_log2(rows)) * 3

    def elaborate(self, platform: object) -> Module:
        """Banks, the writing side and the reading side."""
        m = Module()
        address = unsigned(ceil_log2(self.rows))
        word = self.config.m * ACT_BITS
        banks = [[memory.Memory(shape=unsigned(word), depth=self.rows, init=[]) for _ in range(self.config.l)] for _ in
        range(self.wide)]
        for c, row in enumerate(banks):
            for b, bank in enumerate(row):
                m.submodules[f"bank_{c}_{b}"] = bank
        self._elaborate_write(m, address, banks)
        self._elaborate_wide_read(m, address, banks)
        return m

    def _elaborate_write(self, m: Module, address: ShapeLike, banks: list[list[memory.Memory]]) -> None:
        write = self.write
        valid = delayed(m, write.valid, Placement.latency, "write_valid", reset=True)
        turned = self._turned_rows(m, address)
        for b in range(self.config.l):
            # The last step: the row of the bank.
            row, word = Signal(address, name=f"write_row_{b}"), Signal.like(write.placed.words[b], name=f"write_word_{b}")
            m.d.sync += word.eq(write.placed.words[b])
            m.d.sync += row.eq(Array(turned)[Cat(write.placed.next[b], write.placed.turns[b])])
            for c in range(self.wide):
                port, en = banks[c][b].write_port(), Signal(name=f"write_{c}_{b}")
                m.d.sync += en.eq(valid & write.placed.mask[b] & (write.placed.sub[b] == c))
                m.d.comb += [port.en.eq(en), port.addr.eq(row), port.data.eq(word)]

    def _turned_rows(self, m: Module, address: ShapeLike) -> list[Value]:
        """The rows that banks of several sub-buffers choose from: the first channel group's, the next one's, and so on."""
        write = self.write
        start = Signal(address, name="write_start")
        m.d.sync += start.eq(write.base + (write.cg >> exact_log2(self.wide)) * write.rows)
        pixel_rows = self._pixel_rows(m, address, write.px >> exact_log2(self.config.l), write.fold, write.ring, "write")
        first = [Signal(address, name=f"write_first_{n}") for n in range(2)]
        m.d.sync += [row.eq(start + own) for row, own in zip(first, pixel_rows, strict=True)]
        rows, found = delayed(m, write.rows, 2, "write_rows"), []
        for turn in range(most_turns(self.config, self.wide) + 1):
            for n, row in enumerate(first):
                turned = Signal(address, name=f"write_turned_{turn}_{n}")
                m.d.sync += turned.eq(row + turn * rows)
                found.append(turned)
        return found

    def _pixel_rows(
        self, m: Module, address: ShapeLike, chunk: Value, fold: Value, ring: Value, name: str
    ) -> tuple[Signal, Signal]:
        """Rows of a chunk of ``l`` pixels and of its sub-buffer's next one, counted from the channel group's, registered."""
        row, next_row = Signal(address, name=f"{name}_row"), Signal(address, name=f"{name}_next_row")
        mask = Signal(PIXEL_BITS, name=f"{name}_ring_mask")
        m.d.comb += mask.eq(ring_mask(ring) >> fold)
        m.d.sync += [row.eq((chunk >> fold) & mask), next_row.eq(((chunk >> fold) + 1) & mask)]
        return row, next_row

    def _word(self, m: Module, bank: memory.Memory, row: Value, name: str) -> Value:
        """Step 3: the memory; step 4: its output register."""
        port = bank.read_port(domain="sync")
        word = Signal(port.data.shape(), name=f"word_{name}")
        m.d.comb += [port.addr.eq(row), port.en.eq(1)]
        m.d.sync += word.eq(port.data)
        return word

    def _elaborate_wide_read(self, m: Module, address: ShapeLike, banks: list[list[memory.Memory]]) -> None:
        lanes, bits, wide_bits = self.config.l, exact_log2(self.config.l), exact_log2(self.wide)
        read = self.read

        # Step 1: first row, row of the first pixel and rotation of both channel groups.
        rows_of_pixels = self._pixel_rows(m, address, read.px >> bits, read.fold, read.ring, "read")
        rows_of = []
        for name, group in (("one", read.cg), ("two", read.cg2)):
            group_row = Signal(address, name=f"group_row_{name}")
            m.d.sync += group_row.eq(read.base + (group >> wide_bits) * read.rows)
            # Step 2, for all banks: the first pixel's row, and the next one, which banks that have wrapped around give.
            found_rows = []
            for which, offset in zip(("row", "next_row"), rows_of_pixels, strict=True):
                found_row = Signal(address, name=f"{which}_{name}")
                m.d.comb += found_row.eq(group_row + offset)
                found_rows.append(found_row)
            rows_of.append(found_rows)
        low, skewed = Signal(bits), [Signal(bits, name=f"skewed_{n}") for n in range(len(rows_of))]
        pick, skew = Signal(self.wide), Signal(SPLIT_BITS)
        m.d.sync += [low.eq(read.px), pick.eq(read.pick2), skew.eq(read.skew)]
        for one, group in zip(skewed, (read.cg, read.cg2), strict=True):
            # Only the part of the group above the sub-buffer index is common; the index itself is added below.
            m.d.sync += one.eq(read.px + (((group >> wide_bits) << wide_bits) << read.skew))
        # What a folded channel group's chunks ask of the banks: the next row where the chunk is below the first one, and the
        # group whose pixels a bank holds, in quarters of the sub-buffers. Both depend on whether the bank has wrapped around.
        fold, chunk_low = Signal(FOLD_BITS), Signal(MAX_FOLD)
        m.d.sync += [fold.eq(read.fold), chunk_low.eq((read.px >> bits) & fold_mask(read.fold))]
        # Gathered, the lower half of the places turns to the first group's sub-buffer, the upper half to the second one's.
        nears = [Signal(MAX_FOLD, name=f"near_{half}") for half in range(2)]
        turns = [[Signal(MAX_FOLD, name=f"turn_{half}_{wrapped}") for wrapped in range(2)] for half in range(2)]
        for half, (group, near, of_half) in enumerate(zip((read.cg, read.cg2), nears, turns, strict=True)):
            middle = half << MAX_FOLD - 1
            m.d.sync += near.eq(Mux(read.gather, ((group[:wide_bits] << MAX_FOLD) >> wide_bits) ^ middle, 0))
            for wrapped, turn in enumerate(of_half):
                first = (chunk_low + wrapped) & fold_mask(fold)
                m.d.comb += turn.eq(Mux(fold == 1, first << 1, Mux(fold == MAX_FOLD, first, near)))
        rotators, found, amounts = [], [], []
        bank_turns: list[list[Signal]] = [[], []]
        for c, row in enumerate(banks):
            # Step 2: every bank's row.
            further = [Signal(name=f"further_{c}_{wrapped}") for wrapped in range(2)]
            place = Signal(MAX_FOLD, name=f"place_{c}")
            with m.Switch(fold):
                for value in range(1, MAX_FOLD + 1):
                    with m.Case(value):
                        m.d.comb += place.eq(c >> (wide_bits - value) if wide_bits >= value else 0)
            m.d.comb += [
                further[0].eq(place < chunk_low),
                further[1].eq((chunk_low == fold_mask(fold)) | (place <= chunk_low)),
            ]
            amount = Signal(bits, name=f"amount_{c}")
            first_row, next_row = (Mux(pick[c], two, one) for one, two in zip(*rows_of, strict=True))
            here = Signal(bits, name=f"here_{c}")
            m.d.comb += here.eq(Mux(pick[c], skewed[1], skewed[0]) + (Const(c, wide_bits + 1) << skew))
            m.d.sync += amount.eq(here)
            m.submodules[f"read_rotator_{c}"] = rotator = Rotator(unsigned(banks[0][0].shape.width), lanes)
            for b, bank in enumerate(row):
                distance = Signal(bits, name=f"distance_{c}_{b}")
                bank_row = Signal(address, name=f"bank_row_{c}_{b}")
                m.d.comb += distance.eq(b - here)
                wrapped = Signal(name=f"wrapped_{c}_{b}")
                m.d.comb += wrapped.eq((low + distance) >> bits)
                m.d.sync += bank_row.eq(Mux(Mux(wrapped, further[1], further[0]), next_row, first_row))
                if c == 0:
                    # The same in all sub-buffers that share a channel group: their skew is l.
                    for half, of_half in enumerate(turns):
                        bank_turn = Signal(MAX_FOLD, name=f"bank_turn_{half}_{b}")
                        m.d.sync += bank_turn.eq(Mux(wrapped, of_half[1], of_half[0]))
                        bank_turns[half].append(delayed(m, bank_turn, 2, f"bank_turn_{half}_{b}"))
                found.append(self._word(m, bank, bank_row, f"{c}_{b}"))
            # Steps 5 and 6: pixel px to lane 0.
            amounts.append(amount)
            m.d.comb += read.data[c].eq(Cat(rotator.o[i] for i in range(lanes)))
            rotators.append(rotator)
        late_nears = [delayed(m, near, 1, f"near_{half}") for half, near in enumerate(nears)]
        for c, rotator in enumerate(rotators):
            half = c >= self.wide // 2
            turned = [(c + quarters * self.wide // (1 << MAX_FOLD)) % self.wide for quarters in range(1 << MAX_FOLD)]
            # Folded channel groups have one amount in common, gathered ones have their own.
            near_amount = Signal(bits, name=f"near_amount_{c}")
            m.d.sync += near_amount.eq(chosen(late_nears[half], *(amounts[other] for other in turned)))
            m.d.comb += rotator.amount.eq(delayed(m, near_amount, 1, f"amount_{c}"))
            for b in range(lanes):
                words_of = [found[other * lanes + b] for other in turned]
                m.d.comb += Value.cast(rotator.i[b]).eq(chosen(bank_turns[half][b], *words_of))


__all__ = ["ActBuffer", "WideReadSignature", "gathered"]
