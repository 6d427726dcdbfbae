"""The parts of an artifact (docs/artifact.md): a layer, its post-processing, its residual."""

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

#: Arrays that every post-processed layer has, one value an output channel (integer contract, section 3).
POST_ARRAYS = ("bias", "mult", "shift", "three", "zero")
#: Arrays of an attention layer, one value a head (integer contract, section 7).
ATTENTION_ARRAYS = ("z_mult", "z_shift", "k_mult", "k_shift", "o_mult", "o_shift", "div_min")
#: Every kind of layer: its attributes with their types, then its arrays.
KINDS: dict[str, tuple[dict[str, type], tuple[str, ...]]] = {
    "conv": ({"kernel": int, "stride": int}, ("weight", "pad", *POST_ARRAYS)),
    "pw": ({"groups": int}, ("weight", *POST_ARRAYS)),
    "dw": ({"kernel": int, "stride": int}, ("weight", "pad", *POST_ARRAYS)),
    "fc": ({"logits": bool}, ("weight", *POST_ARRAYS)),
    "pool": ({}, POST_ARRAYS),
    "upsample": ({"factor": int}, POST_ARRAYS),
    "layernorm": ({}, ("gamma", *POST_ARRAYS)),
    "attention": ({"heads": int, "dim": int, "code_bits": int, "z_bits": int}, ATTENTION_ARRAYS),
}

#: Attributes that a layer may lack, by kind.
OPTIONAL: dict[str, dict[str, type]] = {"pw": {"logits": bool}}


@dataclass(frozen=True)
class Residual:
    """The tensor that a layer adds before its last rounding: ``(r - zero) * three``."""

    #: Name of the tensor, shaped as the layer's output.
    tensor: str
    #: ``res_zero``, the tensor's zero point, int8.
    zero: int


@dataclass(frozen=True)
class Post:
    """Per-layer constants of post-processing; the per-channel ones are arrays of the layer."""

    #: ``"none"`` or ``"hardswish"``.
    act: str = "none"
    #: The second shift, 0 .. 31.
    out_shift: int = 0
    #: Never together with a hardswish.
    residual: Residual | None = None


@dataclass
class Layer:
    """One layer of integers.

    ``arrays`` has the fields that :data:`KINDS` lists: ``weight`` int8, everything else int32. ``post`` is None for
    attention only.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    #: ``(C, H, W)`` or ``(C,)``.
    output_shape: tuple[int, ...]
    #: The real value of one step, for information.
    output_scale: float
    attrs: dict[str, Any] = field(default_factory=dict)
    post: Post | None = None
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def logits(self) -> bool:
        """True where the layer stores ``t`` (int16) instead of ``q`` (int8)."""
        return bool(self.attrs.get("logits", False))
