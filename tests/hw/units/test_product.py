"""Products of lookup tables and of DSPs: the same numbers in the same cycle."""

import itertools
from typing import Any

import pytest
from amaranth import Cat, Module, Shape, Signal, signed, unsigned
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.units.product import _row as true_row
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


numbers = st.integers(2, 6)
shapes_of = st.builds(Shape, numbers, st.booleans())


@settings(max_examples=8, deadline=None)
@given(shapes_of, shapes_of, st.none() | st.builds(Shape, st.integers(1, 9), st.booleans()))
def test_all_products_of_a_few_bits_are_exact(x: Shape, y: Shape, plus: Shape | None):
    assert not wrong((x, y, plus), dsp=False)


@pytest.mark.parametrize("shapes", SHAPES[6:])
def test_the_count_of_lookup_tables_is_that_of_the_rows_bits(monkeypatch: pytest.MonkeyPatch, shapes: Any):
    counted = []

    def row(total: Value, x: Value, digit: Value, bits: int) -> Value:
        counted.append(bits)
        return true_row(total, x, digit, bits)

    monkeypatch.setattr("hw.units.product._row", row)
    x, y, plus = (None if shape is None else Signal(shape) for shape in shapes)
    m = Module()
    m._MustUse__silence = True
    registered_product(m, x, y, "product", dsp=False, plus=plus)
    assert product_resources(*shapes[:2], dsp=False, plus=shapes[2]).lutmul == sum(counted)


def sign_not_complemented(total: Value, x: Value, digit: Value, bits: int) -> Value:
    """Negative digits as positive ones."""
    return true_row(total, x, Cat(digit[:2] ^ digit[2].replicate(2), 0), bits)


def one_not_carried_in(total: Value, x: Value, digit: Value, bits: int) -> Value:
    """A complement without its 1."""
    return (true_row(total, x, digit, bits + 1) - digit[2])[:bits].as_signed()


def a_bit_too_narrow(total: Value, x: Value, digit: Value, bits: int) -> Value:
    """The most negative factors' product does not fit."""
    return true_row(total, x, digit, bits - 1)


def rows_of_a_signed_factor(y: Shape) -> int:
    """A row too few where the highest bit is no sign."""
    return -(-y.width // 2)


BUGS = {
    "sign not complemented": ("_row", sign_not_complemented, SHAPES[0]),
    "one not carried in": ("_row", one_not_carried_in, SHAPES[9]),
    "row too narrow": ("_row", a_bit_too_narrow, SHAPES[7]),
    "highest row lost": ("_rows", rows_of_a_signed_factor, SHAPES[9]),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    name, false, shapes = BUGS[bug]
    monkeypatch.setattr(f"hw.units.product.{name}", false)
    assert wrong(shapes, dsp=False)
