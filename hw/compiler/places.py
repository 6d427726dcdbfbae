"""Where tensors lie in the activation buffers, and who has to give way."""

from dataclasses import dataclass, field, replace

from hw.compiler.bands import Kept
from hw.config import AcceleratorConfig
from hw.control.descriptor import Buffer
from hw.interfaces import ROW_BITS
from triovit.errors import UserError


class NoPlaceError(UserError):
    """The buffers have no place for a tensor where its readers need it; beside fewer tensors, or smaller ones, they may have."""


#: Nothing is left out.
WHOLE = Kept()


@dataclass(frozen=True)
class Place:
    """A tensor in a buffer (docs/architecture.md, section 2).

    ``rows`` are the rows of one channel group, ``skew`` the log2 of the bank skew, ``groups`` and ``pixels`` the tensor's size,
    ``fold`` the log2 of the sub-buffers over which each channel group is spread, ``ring`` the log2 of ``rows`` where they are a
    ring, else 0. Of a ``window`` there is one band of pixels at a time, and ``base`` is the row of the band's first one.
    """

    buffer: Buffer
    base: int
    rows: int
    skew: int
    groups: int
    pixels: int
    height: int
    fold: int = 0
    ring: int = 0
    window: bool = False

    @property
    def end(self) -> int:
        """First row beyond the tensor."""
        return self.base + self.height

    def at(self, row: int) -> "Place":
        """As tasks see it while a window's first row is row ``row`` of a channel group: rows keep their numbers."""
        return replace(self, base=(self.base - row) % (1 << ROW_BITS)) if self.window else self


@dataclass
class BufferMap:
    """First-fit allocation of rows in each buffer; tensors are freed after their last use."""

    config: AcceleratorConfig
    _held: dict[Buffer, dict[str, Place]] = field(default_factory=dict)

    def copy(self) -> "BufferMap":
        """The same places, to which more can be added without changing these."""
        return BufferMap(self.config, {buffer: dict(places) for buffer, places in self._held.items()})

    def depth(self, buffer: Buffer) -> int:
        """Rows of a bank of ``buffer``."""
        config = self.config
        return {
            Buffer.X: config.x_rows,
            Buffer.Y: config.y_rows,
            Buffer.D: config.d_rows,
            Buffer.H: config.h_rows // config.wide,
            Buffer.O: config.o_rows,
        }[buffer]

    def take(
        self,
        tensor: str,
        buffers: tuple[Buffer, ...],
        groups: int,
        pixels: int,
        split: int,
        what: str | None = None,
        fold: int = 0,
        kept: Kept = WHOLE,
        high: bool = False,
    ) -> Place:
        """Reserve rows for a tensor that a task with ``lp = 2^split`` writes, in the emptiest of ``buffers``; ``fold`` is for H.

        ``kept`` says what of it there is at a time; ``high`` looks from the last row downwards.

        ``what`` is what the message calls it; the output of layer ``tensor`` by default.

        Raises
        ------
        NoPlaceError
            It fits none of them.
        """
        rows = kept.window or (1 << kept.ring if kept.ring else -(-pixels // self.config.l))
        found = []
        for buffer in buffers:
            wide = self.config.wide if buffer is Buffer.H else 1
            # Folded channel groups share the rows of one.
            height = -(-rows // (1 << fold)) if fold else -(-groups // wide) * rows
            base = self._fit(buffer, height, high=high)
            if base is not None:
                used = sum(place.height for place in self._held.get(buffer, {}).values())
                found.append((used, Place(buffer, base, rows, split, groups, pixels, height, fold, kept.ring, kept.window > 0)))
        if not found:
            names = " or ".join(buffer.name for buffer in buffers)
            raise NoPlaceError(
                f"{what or f'layer {tensor}: its output'} of {groups * self.config.m} channels x {pixels} pixels does not fit "
                f"buffer {names} of configuration {self.config.name} ({self.depth(buffers[0])} rows); "
                "use a larger configuration or a smaller resolution"
            )
        place = min(found, key=lambda item: item[0])[1]
        self._held.setdefault(place.buffer, {})[tensor] = place
        return place

    def free(self, tensor: str) -> None:
        """Give back all rows of a tensor."""
        for places in self._held.values():
            places.pop(tensor, None)

    def _fit(self, buffer: Buffer, height: int, *, high: bool) -> int | None:
        places = sorted(self._held.get(buffer, {}).values(), key=lambda place: place.base)
        starts, ends = [0, *(place.end for place in places)], [*(place.base for place in places), self.depth(buffer)]
        fitting = [(start, end) for start, end in zip(starts, ends, strict=True) if start + height <= end]
        if not fitting:
            return None
        return fitting[-1][1] - height if high else fitting[0][0]
