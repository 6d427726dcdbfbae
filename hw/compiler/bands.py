"""Layers computed in bands of rows, one band of all of them after the other, so that no buffer holds a whole map between them.

The idea is that of fused layers (Alwani et al., "Fused-Layer CNN Accelerators", MICRO 2016), without computing anything twice:
what the next band needs of this one's rows stays in a ring (docs/architecture.md, section 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.utils import ceil_log2

from quant.layer import Layer


@dataclass(frozen=True)
class Kept:
    """How much of a tensor there is at a time, in rows of a channel group: all of it, or a part.

    ``window`` are the rows of a band, where no band reads what the one before computed; ``ring`` is the log2 of the rows of a
    ring, where it does.
    """

    window: int = 0
    ring: int = 0


@dataclass(frozen=True)
class Rows:
    """Rows of a layer's result, band by band.

    ``computed`` are first row and end of what each band computes; ``oldest`` is the first row that something still reads while
    it does.
    """

    computed: tuple[tuple[int, int], ...]
    oldest: tuple[int, ...]
    width: int

    @property
    def pixels(self) -> tuple[tuple[int, int], ...]:
        """The same in pixels: first and end of each band."""
        return tuple((start * self.width, end * self.width) for start, end in self.computed)

    def kept(self, lanes: int) -> Kept:
        """What must be kept at a time of the rows of ``lanes`` pixels."""
        spans = (
            (oldest * self.width // lanes, -(-end * self.width // lanes))
            for (_, end), oldest in zip(self.computed, self.oldest, strict=True)
        )
        most = max(end - first for first, end in spans)
        whole = -(-self.computed[-1][1] * self.width // lanes)
        if most == whole:
            return Kept()
        if all(start == oldest for (start, _), oldest in zip(self.computed, self.oldest, strict=True)):
            return Kept(window=most)
        ring = max(1, ceil_log2(most))
        return Kept(ring=ring) if 1 << ring < whole else Kept()


def _needs(reader: Layer, tensor: str, start: int, end: int) -> tuple[int, int]:
    """First row and end of a tensor that rows ``start`` to ``end`` of a reader are made of; the end may lie beyond the map."""
    if reader.kind != "dw" or tensor not in reader.inputs:
        return start, end
    radius, stride = reader.attrs["kernel"] // 2, reader.attrs["stride"]
    return max(0, start * stride - radius), (end - 1) * stride + radius + 1


def readers(layers: Sequence[Layer], tensor: str) -> list[Layer]:
    """Those of the layers that read a tensor, as input or residual."""
    found = []
    for layer in layers:
        residual = layer.post.residual if layer.post is not None else None
        if tensor in layer.inputs or (residual is not None and residual.tensor == tensor):
            found.append(layer)
    return found


def numbers(height: int) -> list[int]:
    """Numbers of bands to try, the fewest first: powers of two, at last one for each of ``height`` rows."""
    return [*(1 << doubled for doubled in range(1, (height - 1).bit_length())), *([height] if height > 1 else [])]


def cut(layers: Sequence[Layer], bands: int) -> dict[str, Rows]:
    """The rows of every layer's result if the last one's are computed in ``bands`` bands of about the same height.

    All results but the last one's are read within ``layers`` only. A band of a layer has the rows that the band's other layers
    need and that no band before has computed, which may be none.

    Parameters
    ----------
    layers
        Convolutions and products of maps, each behind those that it reads.
    bands
        At most the rows of the last layer's result.
    """
    ends: list[dict[str, int]] = []
    for band in range(bands):
        end: dict[str, int] = {}
        for layer in reversed(layers):
            height = layer.output_shape[1]
            wanted = [_needs(reader, layer.name, 0, end[reader.name])[1] for reader in readers(layers, layer.name)]
            own = max(wanted) if wanted else height * (band + 1) // bands
            end[layer.name] = height if band == bands - 1 else min(height, own)
        ends.append(end)
    starts = [dict.fromkeys(ends[0], 0), *ends[:-1]]
    rows = {}
    for layer in layers:
        name, oldest = layer.name, []
        for start in starts:
            needed = [_needs(reader, name, start[reader.name], start[reader.name] + 1)[0] for reader in readers(layers, name)]
            oldest.append(min([start[name], *needed]))
        computed = tuple((start[name], end[name]) for start, end in zip(starts, ends, strict=True))
        rows[name] = Rows(computed, tuple(oldest), layer.output_shape[2])
    return rows
