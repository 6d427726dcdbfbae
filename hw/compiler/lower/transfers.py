"""What comes from memory and goes there: the picture and the network's output."""

from hw.compiler.lower.fields import source_fields
from hw.compiler.places import Place
from hw.compiler.tasks import ALL, Task
from hw.control.descriptor import Buffer, Opcode
from quant.layer import Layer


def load(layer: Layer, tag: int, place: Place, size: tuple[int, int]) -> Task:
    """LOAD of a picture of ``size`` (height and width), unfolded for the stem ``layer`` into ``place``."""
    height, width = size
    pads = [int(value) & 0xFF for value in layer.arrays["pad"]]
    fields = {
        "tag": tag,
        "dst": Buffer.D,
        "dst_base": place.base,
        "dst_rows": place.rows,
        "dst_ring": place.ring,
        "dst_cg_end": place.groups,
        "px_end": place.pixels,
        "stride": 2,
        "h_in": height,
        "w_in": width,
        "w_out": width // 2,
        "pad": pads[0] | pads[1] << 8 | pads[2] << 16,
    }
    return Task(layer.name, Opcode.LOAD, fields, ALL)


def store(layer: Layer, tag: int, place: Place) -> Task:
    """STORE of a layer's result."""
    fields = {
        "tag": tag,
        **source_fields(place),
        "dst_cg_end": place.groups,
        "px_end": place.pixels,
    }
    return Task(layer.name, Opcode.STORE, fields, ALL)
