"""The activation buffers: skewed banks that read any L consecutive pixels and write any Lp x Lc block in one cycle."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.hdl import Shape, ShapeLike, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import MAX_FOLD
from hw.cost import DSP_PRODUCT_BITS, Resources, ram
from hw.delay import delayed
from hw.interfaces import FOLD_BITS, GROUP_BITS, PIXEL_BITS, RING_BITS, ROW_BITS, SPLIT_BITS, WriteSignature, words
from hw.memory.rotate import Rotator
from quant.contract import ACT_BITS

#: One channel's value, as a rule.
INT8 = signed(ACT_BITS)


class WideReadSignature(wiring.Signature):
    """A read of ``wide`` channel groups at once: sub-buffer ``c`` answers for the channel group with index ``c`` mod ``wide``.

    Members
    -------
    valid : Out(1)
        A request, no back-pressure.
    px, base, rows, skew, spread, ring : Out
        As in :class:`hw.interfaces.ReadSignature`; ``spread`` only where ``wide`` is 1.
    cg, cg2 : Out(GROUP_BITS)
        Two channel groups; only their part above ``wide`` counts.
    fold : Out(FOLD_BITS)
        log2 of the sub-buffers over which each channel group is spread, chunk by chunk of ``l`` pixels. Sub-buffer
        ``j * (wide >> fold) + g`` then answers for channel group ``g`` and the pixels from ``px + j * l`` on. ``skew`` must be
        ``l``, and there are no more than ``wide >> fold`` channel groups.
    pick2 : Out(wide)
        Sub-buffers that answer for ``cg2``; the others answer for ``cg``.
    data : In(ArrayLayout(words, wide))
        ``[c][lane][channel]``, ``latency`` cycles later.
    """

    def __init__(self, config: AcceleratorConfig, wide: int, element: ShapeLike = INT8):
        super().__init__({
            "valid": Out(1),
            "px": Out(signed(PIXEL_BITS + 2)),
            "cg": Out(GROUP_BITS),
            "cg2": Out(GROUP_BITS),
            "pick2": Out(wide),
            "base": Out(ROW_BITS),
            "rows": Out(ROW_BITS),
            "skew": Out(SPLIT_BITS),
            "spread": Out(SPLIT_BITS),
            "fold": Out(FOLD_BITS),
            "ring": Out(RING_BITS),
            "data": In(data.ArrayLayout(words(config, element), wide)),
        })


class ActBuffer(wiring.Component):
    """One activation buffer (docs/architecture.md, section 2): ``wide`` sub-buffers of ``l`` banks of one word.

    Reading and writing never meet: one port each. A word written is readable by requests ``write_latency`` cycles after its
    write.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.
    rows : int
        Rows of a bank.
    wide : int
        Sub-buffers, a power of two.
    element : ShapeLike
        One channel's value.

    Members
    -------
    read : In(WideReadSignature)
        Answers ``read_latency`` cycles later.
    write : In(WriteSignature)
        One a cycle.
    """

    #: Cycles from a read request to its data.
    read_latency = 6
    #: Cycles after a write from which a read request sees it.
    write_latency = 5

    def __init__(self, config: AcceleratorConfig, rows: int, wide: int = 1, element: ShapeLike = INT8):
        self.config = config
        self.rows = rows
        self.wide = wide
        self.element = element
        super().__init__({
            "read": In(WideReadSignature(config, wide, element)),
            "write": In(WriteSignature(config, element)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig, rows: int, wide: int = 1, element: ShapeLike = INT8) -> Resources:
        """The banks, and a multiplier for each channel group addressed: one written, one or two read."""
        addresses = 2 if wide == 1 else 3
        banks = ram(unsigned(config.m * Shape.cast(element).width), rows) * (config.l * wide)
        return banks + Resources(dsp=addresses if ceil_log2(rows) >= DSP_PRODUCT_BITS else 0)

    def elaborate(self, platform: object) -> Module:
        """Banks, the writing side and the reading side."""
        m = Module()
        address = unsigned(ceil_log2(self.rows))
        word = self.write.payload.words.shape().elem_shape
        banks = [[memory.Memory(shape=unsigned(word.size), depth=self.rows, init=[]) for _ in range(self.config.l)] for _ in
        range(self.wide)]
        for c, row in enumerate(banks):
            for b, bank in enumerate(row):
                m.submodules[f"bank_{c}_{b}"] = bank
        self._elaborate_write(m, address, banks)
        self._elaborate_read(m, address, banks)
        return m

    def _elaborate_write(self, m: Module, address: ShapeLike, banks: list[list[memory.Memory]]) -> None:
        lanes, bits, wide_bits = self.config.l, exact_log2(self.config.l), exact_log2(self.wide)
        write, payload = self.write, self.write.payload
        splits = range(bits + 1)

        # Step 1: the row of the first channel group, and the pixel's in it; how far each slot's channel group lies beyond it.
        valid1, payload1 = Signal(), Signal.like(payload)
        first_row = Signal(address)
        m.d.sync += [
            valid1.eq(write.valid),
            payload1.eq(payload),
            first_row.eq(payload.base + (payload.cg >> wide_bits) * payload.rows),
        ]
        chunk = payload.px >> bits
        rows_of_pixels = self._rows(m, address, chunk, payload.fold, payload.ring, "write")
        multiples = _multiples(m, payload.rows, (lanes + self.wide - 2) // self.wide, "write")
        # Step 2: every slot's row and sub-buffer.
        word_bits = payload.words.shape().elem_shape.size
        slot = data.StructLayout({"mask": 1, "row": address, "sub": max(1, wide_bits), "word": word_bits})
        slots = Signal(data.ArrayLayout(slot, lanes))
        amount = Signal(max(1, bits))
        low = payload1.px[:bits] if bits else Const(0, 1)
        # Chunks of l pixels: a folded channel group has them in turn in its sub-buffers, and the last one's next is a row on.
        chunk_low, full = Signal(MAX_FOLD), Signal()
        row, next_row = Signal(address), Signal(address)
        m.d.comb += [
            chunk_low.eq((payload1.px >> bits) & fold_mask(payload1.fold)),
            full.eq((chunk_low == fold_mask(payload1.fold)) if self.wide > 1 else 1),
            row.eq(first_row + rows_of_pixels[0]),
            next_row.eq(first_row + rows_of_pixels[1]),
        ]
        m.d.sync += amount.eq(-(payload1.px + (payload1.cg << payload1.split)))
        for i in range(lanes):
            pixel, channel = Signal(max(1, bits), name=f"pixel_{i}"), Signal(max(1, bits), name=f"channel_{i}")
            with m.Switch(payload1.split):
                for split in splits:
                    with m.Case(split):
                        m.d.comb += [pixel.eq(i & ((1 << split) - 1)), channel.eq(i >> split)]
            group, wraps = Signal(wide_bits + bits + 1, name=f"group_{i}"), Signal(name=f"wraps_{i}")
            m.d.comb += [group.eq(payload1.cg[:wide_bits] + channel), wraps.eq((low + pixel) >> bits)]
            m.d.sync += [
                slots[i].mask.eq(valid1 & payload1.mask[i]),
                slots[i].row.eq(multiples[group >> wide_bits] + Mux(wraps & full, next_row, row)),
                slots[i].sub.eq(self._sub_buffer(m, payload1.fold, group, chunk_low + wraps, f"write_{i}")),
                slots[i].word.eq(payload1.words[i]),
            ]
        # Steps 3 and 4: slot i to bank (i + first) mod l.
        m.submodules.write_rotator = rotator = Rotator(slot, lanes)
        m.d.comb += [rotator.i.eq(slots), rotator.amount.eq(amount)]
        for c, row in enumerate(banks):
            for b, bank in enumerate(row):
                port = bank.write_port()
                here = rotator.o[b]
                m.d.comb += [
                    port.en.eq(here.mask & (here.sub == c) if self.wide > 1 else here.mask),
                    port.addr.eq(here.row),
                    port.data.eq(here.word),
                ]

    def _rows(self, m: Module, address: ShapeLike, chunk: Value, fold: Value, ring: Value, name: str) -> tuple[Signal, Signal]:
        """Rows of a chunk of ``l`` pixels and of its sub-buffer's next one, counted from the channel group's, registered."""
        fold = fold if self.wide > 1 else Const(0, FOLD_BITS)
        row, next_row = Signal(address, name=f"{name}_row"), Signal(address, name=f"{name}_next_row")
        mask = Signal(PIXEL_BITS, name=f"{name}_ring_mask")
        m.d.comb += mask.eq(ring_mask(ring) >> fold)
        m.d.sync += [row.eq((chunk >> fold) & mask), next_row.eq(((chunk >> fold) + 1) & mask)]
        return row, next_row

    def _sub_buffer(self, m: Module, fold: Value, group: Value, chunk: Value, name: str) -> Value:
        """The sub-buffer of a channel group's chunk."""
        if self.wide == 1:
            return Const(0)
        bits = exact_log2(self.wide)
        found = Signal(bits, name=f"sub_{name}")
        m.d.comb += found.eq(group[:bits])
        with m.Switch(fold):
            for value in range(1, MAX_FOLD + 1):
                with m.Case(value):
                    m.d.comb += found.eq(Cat(group[: bits - value], chunk[:value]))
        return found

    def _elaborate_read(self, m: Module, address: ShapeLike, banks: list[list[memory.Memory]]) -> None:
        lanes, bits, wide_bits = self.config.l, exact_log2(self.config.l), exact_log2(self.wide)
        read = self.read

        # Step 1: first row, row of the first pixel and rotation of both channel groups.
        rows_of_pixels = self._rows(m, address, read.px >> bits, read.fold, read.ring, "read")
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
            if self.wide == 1:
                break
        low, skewed = Signal(max(1, bits)), [Signal(max(1, bits), name=f"skewed_{n}") for n in range(len(rows_of))]
        low1, pick = Signal(max(1, bits)), Signal(self.wide)
        groups = (read.cg, read.cg2)
        m.d.comb += low.eq(read.px[:bits] if bits else 0)
        m.d.sync += [low1.eq(low), pick.eq(read.pick2)]
        skew1, spread1 = Signal(SPLIT_BITS), Signal(SPLIT_BITS)
        m.d.sync += [skew1.eq(read.skew), spread1.eq(read.spread)]
        multiples = _multiples(m, read.rows, lanes - 1 if self.wide == 1 else 0, "read")
        for n in range(len(rows_of)):
            # Only the part of the group above the sub-buffer index is common; the index itself is added below.
            m.d.sync += skewed[n].eq(read.px + (((groups[n] >> wide_bits) << wide_bits) << read.skew))
        # What a folded channel group's chunks ask of the banks: the next row where the chunk is below the first one, and the
        # group whose pixels a bank holds, in quarters of the sub-buffers. Both depend on whether the bank has wrapped around.
        fold, chunk_low = Signal(FOLD_BITS), Signal(MAX_FOLD)
        m.d.sync += [fold.eq(read.fold), chunk_low.eq((read.px >> bits) & fold_mask(read.fold))]
        turns = [Signal(MAX_FOLD, name=f"turn_{wrapped}") for wrapped in range(2)]
        for wrapped, turn in enumerate(turns):
            first = (chunk_low + wrapped) & fold_mask(fold)
            m.d.comb += turn.eq(Mux(fold == 1, first << 1, Mux(fold == MAX_FOLD, first, 0)))
        rotators, found, bank_turns = [], [], []
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
            amount = Signal(max(1, bits), name=f"amount_{c}")
            (first_row, next_row), chosen_skew = rows_of[0], skewed[0]
            if self.wide > 1:
                first_row, next_row = (Mux(pick[c], two, one) for one, two in zip(*rows_of, strict=True))
                chosen_skew = Mux(pick[c], skewed[1], skewed[0])
            here = Signal(max(1, bits), name=f"here_{c}")
            m.d.comb += here.eq(chosen_skew + (Const(c, wide_bits + 1) << skew1))
            m.d.sync += amount.eq(here)
            m.submodules[f"read_rotator_{c}"] = rotator = Rotator(unsigned(banks[0][0].shape.width), lanes)
            for b, bank in enumerate(row):
                port = bank.read_port(domain="sync")
                distance = Signal(max(1, bits), name=f"distance_{c}_{b}")
                bank_row = Signal(address, name=f"bank_row_{c}_{b}")
                m.d.comb += distance.eq(b - here)
                pixel, channel = distance, Const(0)
                if self.wide == 1:
                    pixel, channel = Signal(max(1, bits), name=f"pixel_of_{b}"), Signal(max(1, bits), name=f"channel_of_{b}")
                    with m.Switch(spread1):
                        for spread in range(bits + 1):
                            with m.Case(spread):
                                m.d.comb += [pixel.eq(distance & ((lanes >> spread) - 1)), channel.eq(distance >> (bits -
                                spread))]
                wrapped = Signal(name=f"wrapped_{c}_{b}")
                m.d.comb += wrapped.eq((low1 + pixel) >> bits)
                m.d.sync += bank_row.eq(multiples[channel] + Mux(Mux(wrapped, further[1], further[0]), next_row, first_row))
                if c == 0 and self.wide > 1:
                    # The same in all sub-buffers that share a channel group: their skew is l.
                    bank_turn = Signal(MAX_FOLD, name=f"bank_turn_{b}")
                    m.d.sync += bank_turn.eq(Mux(wrapped, turns[1], turns[0]))
                    bank_turns.append(delayed(m, bank_turn, 2, f"bank_turn_{b}"))
                # Step 3: the memory; step 4: its output register.
                word = Signal(port.data.shape(), name=f"word_{c}_{b}")
                m.d.comb += [port.addr.eq(bank_row), port.en.eq(1)]
                m.d.sync += word.eq(port.data)
                found.append(word)
            # Steps 5 and 6: pixel px to lane 0.
            m.d.comb += rotator.amount.eq(delayed(m, amount, 2, f"amount_{c}"))
            m.d.comb += read.data[c].eq(Cat(rotator.o[i] for i in range(lanes)))
            rotators.append(rotator)
        for c, rotator in enumerate(rotators):
            for b in range(lanes):
                if self.wide == 1:
                    m.d.comb += rotator.i[b].eq(found[b])
                    continue
                with m.Switch(bank_turns[b]):
                    for quarters in range(1 << MAX_FOLD):
                        with m.Case(quarters):
                            other = (c + quarters * self.wide // (1 << MAX_FOLD)) % self.wide
                            m.d.comb += rotator.i[b].eq(found[other * lanes + b])


def ring_mask(ring: Value) -> Value:
    """``2^ring - 1``, all ones for 0."""
    return Mux(ring == 0, -1, (1 << ring) - 1)


def fold_mask(fold: Value) -> Value:
    """``2^fold - 1``."""
    return Mux(fold == MAX_FOLD, (1 << MAX_FOLD) - 1, Mux(fold == 1, 1, 0))


def _multiples(m: Module, rows: Value, most: int, name: str) -> Array:
    """``0 .. most`` times ``rows``, registered: sums that all lanes share, where each would need a multiplier."""
    now, registered = [Const(0, 1)], [Const(0, 1)]
    for factor in range(1, most + 1):
        shape = range(factor * ((1 << ROW_BITS) - 1) + 1)
        product = Signal(shape, name=f"{name}_rows_{factor}")
        late = Signal(shape, name=f"{name}_rows_{factor}_1", reset_less=True)
        m.d.comb += product.eq((now[factor // 2] << 1) + (rows if factor % 2 else 0))
        m.d.sync += late.eq(product)
        now.append(product)
        registered.append(late)
    return Array(registered)


__all__ = ["ActBuffer", "WideReadSignature"]
