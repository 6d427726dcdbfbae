"""Which network of the family a state dict is, by the names and shapes of its tensors (mit-han-lab's names)."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from quant.networks.model import EfficientViT
from quant.networks.spec import SPECS, NetworkSpec, SegHeadSpec
from triovit.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]

#: Share of a known backbone's tensors that a file must have to be taken for that network.
_FAMILIAR = 0.5
_HEAD, _SEG_INPUT, _SEG_MIDDLE, _SEG_OUTPUT = "head.op_list", "head.input_ops", "head.middle.op_list", "head.output_ops.0.op_list"


@cache
def tensor_shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a network by name, BatchNorm's counters left out."""
    with torch.device("meta"):
        network = EfficientViT(spec)
    return {key: tuple(value.shape) for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}


def recognise(found: Shapes, path: Path) -> NetworkSpec:
    """The network with the known backbone that shares most tensors with ``found``; the head's sizes are those of ``found``.

    ``path`` is the file in messages.

    Raises
    ------
    UserError
        No EfficientViT.
    """
    task = "segmentation" if any(key.startswith(_SEG_INPUT) for key in found) else "classification"
    members = [spec for spec in SPECS.values() if spec.task == task]

    def likeness(spec: NetworkSpec) -> float:
        wanted = {key: shape for key, shape in tensor_shapes(spec).items() if key.startswith("backbone.")}
        return sum(found.get(key) == shape for key, shape in wanted.items()) / len(wanted)

    best = max(members, key=likeness)
    if likeness(best) < _FAMILIAR:
        stranger = next((key for key in found if key not in tensor_shapes(best)), min(found))
        raise UserError(
            f"{path}: is no EfficientViT B0..B3 (tensor {stranger} has no place in one); give an EfficientViT's weights"
        )
    return _with_segmenter(best, found, best.seg_head) if best.seg_head else _with_classifier(best, found)


def _outputs(found: Shapes, key: str, usual: int) -> int:
    """Outputs of a layer by the shape of its weights; the usual number where they are missing, which is told later."""
    shape = found.get(f"{key}.weight", ())
    return shape[0] if shape else usual


def _with_classifier(spec: NetworkSpec, found: Shapes) -> NetworkSpec:
    wide, hidden = spec.head_widths
    return replace(
        spec,
        head_widths=(_outputs(found, f"{_HEAD}.0.conv", wide), _outputs(found, f"{_HEAD}.2.linear", hidden)),
        classes=_outputs(found, f"{_HEAD}.3.linear", spec.classes),
    )


def _places(found: Shapes, key: str) -> set[int]:
    """Places of the operations in the list of that name."""
    return {
        int(place) for name in found if name.startswith(f"{key}.") and (place := name[len(key) + 1 :].split(".")[0]).isdigit()
    }


def _with_segmenter(spec: NetworkSpec, found: Shapes, usual: SegHeadSpec) -> NetworkSpec:
    width = _outputs(found, f"{_SEG_INPUT}.0.op_list.0.conv", usual.width)
    depth, last = len(_places(found, _SEG_MIDDLE)), max(_places(found, _SEG_OUTPUT), default=1)
    middle = _outputs(found, f"{_SEG_MIDDLE}.0.main.inverted_conv.conv", width * usual.expand)
    head = SegHeadSpec(width, depth, max(1, middle // max(1, width)), widens=last > 0)
    return replace(spec, seg_head=head, classes=_outputs(found, f"{_SEG_OUTPUT}.{last}.conv", spec.classes))
