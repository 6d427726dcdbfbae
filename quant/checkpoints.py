"""Trained weights by name or from a file; the network is recognised by the shapes of its tensors."""

import pickle
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from quant.networks.layout import operations
from quant.networks.model import EfficientViT
from quant.networks.names import from_timm
from quant.networks.spec import SPECS, NetworkSpec
from triovit.errors import UserError

#: Weights that come with the program.
PACKAGED = {"digits": Path(__file__).parent / "networks" / "weights" / "digits.safetensors"}
#: Share of a known network's tensors that a file must have to be taken for that network.
_FAMILIAR = 0.5
_CLASSES = "head.op_list.3.linear"


def load(source: str | Path, resolution: tuple[int, int] | None = None) -> EfficientViT:
    """Load a trained network, in evaluation mode: a packaged name (``digits``) or a .pt, .pth or .safetensors file.

    The file holds a state dict, or one under ``state_dict``, with mit-han-lab's or timm's names. ``resolution`` replaces the
    network's usual one.

    Raises
    ------
    UserError
        Unknown name, unreadable file, no EfficientViT, a tensor missing, extra, of another shape or not finite.
    """
    path = PACKAGED.get(str(source), Path(source))
    if str(source) in SPECS and str(source) not in PACKAGED and not path.exists():
        raise UserError(f"{source}: its weights are not packaged (only {', '.join(PACKAGED)}); give the file of a checkpoint")
    return from_state(from_timm(_read(path)), path, resolution)


def from_state(state: dict[str, Tensor], path: Path, resolution: tuple[int, int] | None = None) -> EfficientViT:
    """The network, in evaluation mode, of a state dict with mit-han-lab's names; ``path`` is its file in messages.

    Raises
    ------
    UserError
        No EfficientViT, a tensor missing, extra, of another shape or not finite.
    """
    spec = _recognise(state, path)
    _check(state, spec, path)
    with torch.device("meta"):
        network = EfficientViT(spec if resolution is None else spec.at(resolution))
    network.load_state_dict(
        {name: state[name] if name in state else torch.tensor(0) for name in network.state_dict()}, assign=True
    )
    return network.eval().requires_grad_(False)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; give a .pt, .pth or .safetensors file, or one of {', '.join(PACKAGED)}")
    damaged = UserError(f"{path}: cannot be read as a checkpoint (truncated or another format); get the file again")
    try:
        if path.suffix == ".safetensors":
            state: object = safetensors.torch.load_file(path)
        elif path.suffix in (".pt", ".pth"):
            state = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise UserError(
                f"{path}: {path.suffix or 'no suffix'} is no kind of checkpoint; give a .pt, .pth or .safetensors file"
            )
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "weights_only" in str(error).lower():
            raise UserError(f"{path}: holds more than tensors and is not opened for safety; save its state_dict alone") from error
        raise damaged from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise damaged from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path}: holds no state dict; save the network's state_dict()")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: {name} is no tensor; save the network's state_dict()")
    return state


@cache
def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a known network, counters left out."""
    with torch.device("meta"):
        network = EfficientViT(SPECS[name])
    return {key: tuple(value.shape) for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}


def _recognise(state: dict[str, Tensor], path: Path) -> NetworkSpec:
    """The known network with most tensors of the same name and shape; the classes are the file's own."""
    found = {key: tuple(value.shape) for key, value in state.items()}

    def likeness(name: str) -> float:
        wanted = _shapes(name)
        return sum(found.get(key) == shape for key, shape in wanted.items()) / len(wanted)

    best = max(SPECS, key=likeness)
    if likeness(best) < _FAMILIAR:
        stranger = next((key for key in found if key not in _shapes(best)), min(found))
        raise UserError(
            f"{path}: is no EfficientViT B0..B3 (tensor {stranger} has no place in one); give an EfficientViT's weights"
        )
    classes = found.get(f"{_CLASSES}.weight", ())
    return replace(SPECS[best], classes=classes[0]) if len(classes) == 2 else SPECS[best]


def _check(state: dict[str, Tensor], spec: NetworkSpec, path: Path) -> None:
    """Every tensor present, none extra, each of the right shape and finite."""
    layers = {key: op.name for op in operations(spec) for key in (op.key, op.norm_key) if key}

    def fail(key: str, what: str, remedy: str) -> UserError:
        layer = layers.get(key.rpartition(".")[0])
        return UserError(f"{path}: {f'layer {layer}: ' if layer else ''}tensor {key} {what}; {remedy}")

    whole = f"give a complete checkpoint of EfficientViT-{spec.name}"
    for key, shape in _shapes(spec.name).items():
        if key.startswith(_CLASSES):
            shape = (spec.classes, *shape[1:])
        if key not in state:
            raise fail(key, "is missing", whole)
        if tuple(state[key].shape) != shape:
            raise fail(key, f"has shape {list(state[key].shape)}, and must have {list(shape)}", whole)
        if not state[key].is_floating_point():
            raise fail(
                key, f"is {str(state[key].dtype).removeprefix('torch.')}, and must be floating point", "save the float network"
            )
        if not state[key].isfinite().all():
            raise fail(key, "has values that are not finite (NaN or infinity)", "train again or use an earlier checkpoint")
        state[key] = state[key].float()
    for key in state:
        if key not in _shapes(spec.name) and not key.endswith("num_batches_tracked"):
            raise fail(key, f"has no place in EfficientViT-{spec.name}", "remove it from the checkpoint")
