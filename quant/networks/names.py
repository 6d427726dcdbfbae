"""timm's names of an EfficientViT's tensors, turned into mit-han-lab's."""

import re

from torch import Tensor

#: timm's pattern, mit-han-lab's replacement; the first that matches the beginning of a name wins.
_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"stem\.in_conv\.", r"backbone.input_stem.op_list.0."),
        (r"stem\.res(\d+)\.", lambda m: f"backbone.input_stem.op_list.{int(m[1]) + 1}."),
        (r"stages\.(\d+)\.blocks\.", r"backbone.stages.\1.op_list."),
        (r"head\.in_conv\.", r"head.op_list.0."),
        (r"head\.classifier\.0\.", r"head.op_list.2.linear."),
        (r"head\.classifier\.1\.", r"head.op_list.2.norm."),
        (r"head\.classifier\.4\.", r"head.op_list.3.linear."),
    )
]


#: Added to an attention's divisors by timm; mit-han-lab adds what :class:`NetworkSpec` has.
TIMM_ATTENTION_EPS = 1e-5


def is_timm(state: dict[str, Tensor]) -> bool:
    """True if the stem has timm's name."""
    return any(name.startswith("stem.") for name in state)


def from_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict under mit-han-lab's names; names that are not timm's stay as they are."""
    return {_translate(name): value for name, value in state.items()}


def _translate(name: str) -> str:
    for pattern, replacement in _RULES:
        if pattern.match(name):
            return pattern.sub(replacement, name, count=1)
    return name
