"""Products of lookup tables and of DSPs: the same numbers in the same cycle."""

import itertools
from typing import Any

import pytest
from amaranth import Module, Shape, Signal, signed, unsigned
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.units.product import _joined as true_joined
from hw.units.product import _level as true_level
from hw.units.product import _rows as true_rows
from hw.units.product import logic_product, product_resources, registered_product
from tests.hw.units.drive import stream_through


class Product(wiring.Component):
    """A registered product alone, and one without registers beside it."""

    def __init__(self, x: Shape, y: Shape, plus: Shape | None, dsp: bool):
        self.dsp, self.added = dsp, plus is not None
        members = {"x": In(x), "y": In(y), "o": Out(signed(48)), "now": Out(signed(48))}
        super().__init__(members | ({"plus": In(plus)} if plus else {}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plus = self.plus if self.added else None
        m.d.comb += [
            self.o.eq(registered_product(m, self.x, self.y, "product", dsp=self.dsp, plus=plus)),
            self.now.eq(logic_product(self.x, self.y)),
        ]
        return m


def ends(shape: Shape) -> list[int]:
    """All values of few bits, otherwise those at the ends and around zero."""
    low, high = (-(1 << shape.width - 1), 1 << shape.width - 1) if shape.signed else (0, 1 << shape.width)
    if shape.width <= 5:
        return list(range(low, high))
    return sorted({low, low + 1, low // 3, 0, 1, high // 5, high - 2, high - 1} | ({-1} if shape.signed else set()))


SHAPES = [
    (signed(4), signed(4), None),
    (unsigned(4), signed(5), None),
    (signed(4), unsigned(3), None),
    (unsigned(3), unsigned(5), None),
    (signed(3), unsigned(4), signed(5)),
    (unsigned(5), signed(3), signed(4)),
    (signed(8), signed(8), None),
    (signed(16), signed(11), None),
    (unsigned(13), signed(8), signed(21)),
    (signed(27), unsigned(16), None),
    (signed(16), unsigned(15), signed(16)),
]


def wrong(shapes: tuple[Shape, Shape, Shape | None], dsp: bool) -> bool:
    x, y, plus = shapes
    values = itertools.product(ends(x), ends(y), ends(plus) if plus else [0])
    vectors = [{"x": a, "y": b} | ({"plus": c} if plus else {}) for a, b, c in values]
    got = stream_through(Product(*shapes, dsp), 2, vectors, ["o"])
    return [out["o"] for out in got] != [int(v["x"]) * int(v["y"]) + int(v.get("plus", 0)) for v in vectors]


@pytest.mark.parametrize("dsp", [False, True])
@pytest.mark.parametrize("shapes", SHAPES)
def test_registered_products_are_exact(shapes: Any, dsp: bool):
    assert not wrong(shapes, dsp)


@pytest.mark.parametrize("shapes", [shapes for shapes in SHAPES if shapes[2] is None])
def test_products_without_registers_are_exact(shapes: Any):
    vectors = [{"x": a, "y": b} for a, b in itertools.product(ends(shapes[0]), ends(shapes[1]))]
    got = stream_through(Product(*shapes, False), 0, vectors, ["now"])
    assert [out["now"] for out in got] == [v["x"] * v["y"] for v in vectors]


@pytest.mark.parametrize("shapes", SHAPES[6:])
def test_the_count_of_lookup_tables_is_that_of_the_adders_bits(monkeypatch: pytest.MonkeyPatch, shapes: Any):
    bits = 0

    def counted(low: tuple[int, Value], high: tuple[int, Value]) -> tuple[int, Value]:
        nonlocal bits
        place, whole = true_joined(low, high)
        bits += len(whole) - (high[0] - low[0])
        return place, whole

    monkeypatch.setattr("hw.units.product._joined", counted)
    x, y, plus = (None if shape is None else Signal(shape) for shape in shapes)
    m = Module()
    m._MustUse__silence = True
    registered_product(m, x, y, "product", dsp=False, plus=plus)
    assert product_resources(len(x), len(y), dsp=False, plus=plus is not None).lutmul == pytest.approx(bits, rel=0.2)


def sign_counted_positive(x: Value, y: Value) -> list[tuple[int, Value]]:
    """The rows of an unsigned number."""
    return true_rows(x, y.as_unsigned())


def joined_without_gap(low: tuple[int, Value], high: tuple[int, Value]) -> tuple[int, Value]:
    """Two rows as if they lay side by side."""
    return low[0], low[1] + high[1]


def last_row_lost(rows: list[tuple[int, Value]]) -> list[tuple[int, Value]]:
    """An odd row is forgotten."""
    return true_level(rows[: len(rows) & ~1])


BUGS = {
    "sign counted positive": ("_rows", sign_counted_positive, SHAPES[0]),
    "rows not shifted": ("_joined", joined_without_gap, SHAPES[9]),
    "odd row lost": ("_level", last_row_lost, SHAPES[7]),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    name, false, shapes = BUGS[bug]
    monkeypatch.setattr(f"hw.units.product.{name}", false)
    assert wrong(shapes, dsp=False)
