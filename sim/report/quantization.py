"""What the report shows of a quantization, and the file ``errors.json`` that carries it.

The file is the JSON document of ``triovit errors`` (docs/cli.md); SQNR is in dB, null where nothing differs. Fields that are not
listed here are ignored.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from quant.contract import CODE_WIDTHS
from sim.report.data import RangeRow, range_row
from sim.report.fields import Fields, read_fields

_REMEDY = "run triovit errors again"


@dataclass(frozen=True)
class ErrorRow:
    """The SQNR at one layer, in dB; None where nothing differs or there is nothing to compare."""

    layer: str
    kind: str
    #: Of the tensor in the integer network, and of the float tensor rounded.
    accumulated: float | None
    alone: float | None
    #: Of the rounded weights.
    weights: float | None


@dataclass(frozen=True)
class EffectRow:
    """The network's output when one quantizer alone rounds."""

    layer: str
    part: str
    sqnr: float | None
    agreement: float | None
    score_change: float | None


@dataclass(frozen=True)
class DivisorRow:
    """The divisors of an attention layer: how many have each code, and each whole binary logarithm from ``lowest`` on."""

    layer: str
    code_bits: int
    codes: tuple[float, ...]
    lowest: int
    exponents: tuple[float, ...]


@dataclass(frozen=True)
class QuantizationData:
    """Everything that the page shows of a quantization."""

    network: str
    #: Pictures compared.
    images: int
    #: ``top1``, ``miou`` or None.
    metric: str | None
    float_score: float | None
    int_score: float | None
    #: Of the integer network's logits, in dB, and the share of equal classes.
    sqnr: float | None
    agreement: float | None
    errors: tuple[ErrorRow, ...] = ()
    #: The most harmful first.
    effects: tuple[EffectRow, ...] = ()
    divisors: tuple[DivisorRow, ...] = ()
    ranges: tuple[RangeRow, ...] = ()


def read_quantization(path: str | os.PathLike[str]) -> QuantizationData:
    """Read and check ``errors.json``.

    Raises
    ------
    UserError
        The file is missing or no JSON, or a field is missing or wrong; the message names the field.
    """
    fields = read_fields(Path(path), _REMEDY)
    whole = fields.object("integer")
    return QuantizationData(
        network=fields.get("network", str),
        images=fields.count("images"),
        metric=fields.optional("metric", str),
        float_score=fields.share("float_score"),
        int_score=whole.share("score"),
        sqnr=whole.optional("sqnr", float),
        agreement=whole.share("agreement"),
        errors=_errors(fields.objects("quantizers")),
        effects=tuple(map(_effect, [] if fields.optional("effects", list) is None else fields.objects("effects"))),
        divisors=tuple(map(_divisors, fields.objects("divisors"))),
        ranges=tuple(map(range_row, fields.objects("ranges"))),
    )


def _errors(rows: list[Fields]) -> tuple[ErrorRow, ...]:
    """One row a layer, of its tensor's quantizer and its weights'; attention's inner ones show in the effects."""
    weights = {row.get("layer", str): row.optional("alone", float) for row in rows if row.get("part", str) == "weight"}
    return tuple(
        ErrorRow(
            layer=(name := row.get("layer", str)),
            kind=row.get("kind", str),
            accumulated=row.optional("accumulated", float),
            alone=row.optional("alone", float),
            weights=weights.get(name),
        )
        for row in rows
        if row.get("part", str) == "output"
    )


def _effect(fields: Fields) -> EffectRow:
    effect = fields.object("effect")
    return EffectRow(
        layer=fields.get("layer", str),
        part=fields.get("part", str),
        sqnr=effect.optional("sqnr", float),
        agreement=effect.share("agreement"),
        score_change=effect.optional("score_change", float),
    )


def _divisors(fields: Fields) -> DivisorRow:
    bits = fields.get("code_bits", int)
    if bits not in CODE_WIDTHS:
        raise fields.fail("code_bits", f"is {bits}, and must be {' or '.join(map(str, CODE_WIDTHS))}")
    row = DivisorRow(fields.get("layer", str), bits, fields.numbers("codes"), fields.count("lowest"), fields.numbers("exponents"))
    if len(row.codes) != 1 << bits:
        raise fields.fail("codes", f"has {len(row.codes)} entries, and must have {1 << bits}")
    for name, counts in (("codes", row.codes), ("exponents", row.exponents)):
        if min(counts, default=0) < 0:
            raise fields.fail(name, "must not be negative")
    return row
