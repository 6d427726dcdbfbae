"""What a report shows, and the file ``report.json`` that carries it.

The file is one JSON object; its fields are those of :class:`ReportData`, its nested objects those of the other classes here::

    {"network": "digits", "config": "toy", "images": 10, "bit_exact": true, "float_accuracy": 0.98, "int_accuracy": 0.97,
     "layers": [{"name": "stem.0", "kind": "conv", "engine": "MAT", "macs": 5419008, "cycles": 7100, "predicted": 7056,
                 "utilization": 0.37}],
     "timeline": [{"engine": "MAT", "layer": "stem.0", "start": 0, "end": 7100}],
     "waits": [{"unit": "MAT", "awaited": "weights", "cycles": 410}],
     "ranges": [{"layer": "S1.0.MB.dw", "before": {"min": [-0.4], "max": [9.1]}, "after": {"min": [-0.1], "max": [1.3]}}]}

Fields that are not listed are ignored.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from sim.report.fields import Fields, read_fields

_REMEDY = "simulate the network again"


@dataclass(frozen=True)
class LayerRow:
    """One layer as it ran on the accelerator."""

    name: str
    kind: str
    #: The engines that computed it, as text: ``MAT``, ``R-MAC``, ``MAT + R-MAC``.
    engine: str
    macs: int
    #: Measured in the simulation of the hardware.
    cycles: int
    #: Foretold by the cycle model; None where it foretells nothing.
    predicted: int | None
    #: Share of the multipliers busy, in [0, 1]; None for a layer without multiplications.
    utilization: float | None


@dataclass(frozen=True)
class Event:
    """An engine's work on one layer in the clock cycles ``start <= cycle < end``."""

    engine: str
    layer: str
    start: int
    end: int


@dataclass(frozen=True)
class Wait:
    """Cycles in which a unit with work waited for something, as the hardware counted them."""

    unit: str
    awaited: str
    cycles: int


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest real value of each channel."""

    min: tuple[float, ...]
    max: tuple[float, ...]


@dataclass(frozen=True)
class RangeRow:
    """Channel ranges at a layer's input before and after migration or shifting."""

    layer: str
    before: Bounds
    after: Bounds


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows."""

    network: str
    config: str
    #: Pictures simulated.
    images: int
    #: The hardware equalled the golden model in every value.
    bit_exact: bool
    #: In [0, 1]; None when not measured.
    float_accuracy: float | None
    int_accuracy: float | None
    #: Cycles, timeline and waits are those of one picture.
    layers: tuple[LayerRow, ...] = ()
    timeline: tuple[Event, ...] = ()
    waits: tuple[Wait, ...] = ()
    ranges: tuple[RangeRow, ...] = ()

    @property
    def cycles(self) -> int:
        """The last cycle of the timeline."""
        return max((event.end for event in self.timeline), default=0)


def read_report(path: str | os.PathLike[str]) -> ReportData:
    """Read and check ``report.json``.

    Raises
    ------
    UserError
        The file is missing or no JSON, or a field is missing or wrong; the message names the field.
    """
    fields = read_fields(Path(path), _REMEDY)
    return ReportData(
        network=fields.get("network", str),
        config=fields.get("config", str),
        images=fields.count("images"),
        bit_exact=fields.get("bit_exact", bool),
        float_accuracy=fields.share("float_accuracy"),
        int_accuracy=fields.share("int_accuracy"),
        layers=tuple(map(_layer, fields.objects("layers"))),
        timeline=tuple(map(_event, fields.objects("timeline"))),
        waits=tuple(map(_wait, fields.objects("waits"))),
        ranges=tuple(map(range_row, fields.objects("ranges"))),
    )


def _layer(fields: Fields) -> LayerRow:
    return LayerRow(
        name=fields.get("name", str),
        kind=fields.get("kind", str),
        engine=fields.get("engine", str),
        macs=fields.count("macs"),
        cycles=fields.count("cycles"),
        predicted=None if fields.optional("predicted", int) is None else fields.count("predicted"),
        utilization=fields.share("utilization"),
    )


def _event(fields: Fields) -> Event:
    event = Event(fields.get("engine", str), fields.get("layer", str), fields.count("start"), fields.count("end"))
    if event.end < event.start:
        raise fields.fail("end", f"is {event.end}, before the start {event.start}")
    return event


def _wait(fields: Fields) -> Wait:
    return Wait(fields.get("unit", str), fields.get("awaited", str), fields.count("cycles"))


def range_row(fields: Fields) -> RangeRow:
    """The ranges that an object holds."""
    before, after = (_bounds(fields.object(side)) for side in ("before", "after"))
    row = RangeRow(fields.get("layer", str), before, after)
    if len(row.before.min) != len(row.after.min):
        raise fields.fail("after", f"has {len(row.after.min)} channels, and before has {len(row.before.min)}")
    return row


def _bounds(fields: Fields) -> Bounds:
    bounds = Bounds(fields.numbers("min"), fields.numbers("max"))
    if not bounds.min or len(bounds.min) != len(bounds.max):
        raise fields.fail("max", f"has {len(bounds.max)} channels, and min has {len(bounds.min)}; every channel needs both")
    return bounds
