"""The descriptor's fields of what a layer reads and writes, and of its post-processing."""

from dataclasses import dataclass

from hw.compiler.places import Place
from hw.control.descriptor import Act, Buffer
from quant.layer import Layer


@dataclass(frozen=True)
class Destination:
    """Where a layer's result goes: one place, or two."""

    first: Place
    second: Place | None = None

    def fields(self) -> dict[str, int | Buffer]:
        """The descriptor's fields; both places have the same rows a channel group, in a ring or not."""
        fields: dict[str, int | Buffer] = {
            "dst": self.first.buffer,
            "dst_base": self.first.base,
            "dst_rows": self.first.rows,
            "dst_cg": 0,
            "dst_cg_end": self.first.groups,
            "dst_fold": self.first.fold,
            "dst_ring": self.first.ring,
        }
        if self.second is not None:
            fields |= {"dst2_on": 1, "dst2": self.second.buffer, "dst2_base": self.second.base}
            fields["dst2_cg_end"] = self.second.groups
        return fields

    def at(self, row: int) -> "Destination":
        """The same where windows begin with row ``row``."""
        return Destination(self.first.at(row), self.second.at(row) if self.second is not None else None)


def source_fields(place: Place) -> dict[str, int | Buffer]:
    """The descriptor's fields of a tensor that is read."""
    return {
        "src": place.buffer,
        "src_base": place.base,
        "src_rows": place.rows,
        "src_skew": place.skew,
        "src_cg": 0,
        "src_fold": place.fold,
        "src_ring": place.ring,
    }


def post_fields(layer: Layer, residual: Place | None) -> dict[str, int | Buffer | Act]:
    """The descriptor's fields of a layer's post-processing."""
    post = layer.post
    if post is None:
        return {}
    fields: dict[str, int | Buffer | Act] = {
        "out_shift": post.out_shift,
        "logits": int(layer.logits),
        "act": Act.HARDSWISH if post.act == "hardswish" else Act.NONE,
    }
    if post.residual is not None and residual is not None:
        fields |= {
            "act": Act.RESIDUAL,
            "res_src": residual.buffer,
            "res_base": residual.base,
            "res_skew": residual.skew,
            "res_ring": residual.ring,
            "res_rows": residual.rows,
            "res_zero": post.residual.zero,
        }
    return fields
