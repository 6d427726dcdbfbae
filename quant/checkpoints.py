"""Trained weights by name or from a file; the network is recognised by the shapes of its tensors.

What tensors do not tell: both projects leave BatchNorm's and LayerNorm's epsilon of the B networks at torch's 1e-5, and add
1e-15 (mit-han-lab) or 1e-5 (timm) to an attention's divisors, so that the names of the tensors decide. Sources: mit-han-lab's
efficientvit/models/nn/ops.py and cls_model_zoo.py, timm's timm/models/efficientvit_mit.py.
"""

import pickle
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from quant.networks.layout import operations
from quant.networks.model import EfficientViT
from quant.networks.names import TIMM_ATTENTION_EPS, from_timm, is_timm
from quant.networks.recognise import recognise, tensor_shapes
from quant.networks.spec import SPECS, NetworkSpec
from triovit.errors import UserError

#: Weights that come with the program.
PACKAGED = {"digits": Path(__file__).parent / "networks" / "weights" / "digits.safetensors"}
#: What training programs put a state dict under, the one that their own programs prefer first: timm's averaged weights, then
#: the plain ones. mit-han-lab's averaged weights (under ``ema``, by their decay) are taken where there are no others.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "ema")
#: What wrappers of modules put before the names: torch's data parallelism and its compiler.
_PREFIXES = re.compile(r"^(module\.|_orig_mod\.)+")


def load(source: str | Path, resolution: tuple[int, int] | None = None) -> EfficientViT:
    """Load a trained network, in evaluation mode: a packaged name (``digits``) or a .pt, .pth or .safetensors file.

    The file holds a state dict, or one under a training program's name for it, with mit-han-lab's or timm's names.
    ``resolution`` replaces the network's usual one.

    Raises
    ------
    UserError
        Unknown name, unreadable file, no EfficientViT, a tensor missing, extra, of another shape or not finite.
    """
    path = PACKAGED.get(str(source), Path(source))
    if str(source) in SPECS and str(source) not in PACKAGED and not path.exists():
        raise UserError(f"{source}: its weights are not packaged (only {', '.join(PACKAGED)}); give the file of a checkpoint")
    return from_state(_read(path), path, resolution)


def from_state(state: dict[str, Tensor], path: Path, resolution: tuple[int, int] | None = None) -> EfficientViT:
    """The network, in evaluation mode, of a state dict with mit-han-lab's or timm's names; ``path`` is its file in messages.

    Raises
    ------
    UserError
        No EfficientViT, a tensor missing, extra, of another shape or not finite.
    """
    timm, state = is_timm(state), from_timm(state)
    spec = recognise({key: tuple(value.shape) for key, value in state.items()}, path)
    if timm:
        spec = replace(spec, attention_eps=TIMM_ATTENTION_EPS)
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
    state = _unwrap(state)
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path}: holds no state dict; save the network's state_dict()")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: {name} is no tensor; save the network's state_dict()")
    return state


def _unwrap(state: object) -> object:
    """The state dict inside what a training program saved, without what wrappers of modules put before the names."""
    if isinstance(state, dict):
        for key in _WRAPPERS:
            if isinstance(inner := state.get(key), dict) and inner:
                # mit-han-lab's averaged weights: one state dict, its key is the decay.
                state = inner if all(isinstance(name, str) for name in inner) else next(iter(inner.values()))
                break
        return {_PREFIXES.sub("", name) if isinstance(name, str) else name: value for name, value in state.items()}
    return state


def _check(state: dict[str, Tensor], spec: NetworkSpec, path: Path) -> None:
    """Every tensor present, none extra, each of the right shape and finite."""
    layers = {key: op.name for op in operations(spec) for key in (op.key, op.norm_key) if key}

    def fail(key: str, what: str, remedy: str) -> UserError:
        layer = layers.get(key.rpartition(".")[0])
        return UserError(f"{path}: {f'layer {layer}: ' if layer else ''}tensor {key} {what}; {remedy}")

    again = "train again or use an earlier checkpoint"
    whole, shapes = f"give a complete checkpoint of EfficientViT-{spec.name}", tensor_shapes(spec)
    for key, shape in shapes.items():
        if key not in state:
            raise fail(key, "is missing", whole)
        if tuple(state[key].shape) != shape:
            raise fail(key, f"has shape {list(state[key].shape)}, and must have {list(shape)}", whole)
        if not state[key].is_floating_point():
            raise fail(
                key, f"is {str(state[key].dtype).removeprefix('torch.')}, and must be floating point", "save the float network"
            )
        if not state[key].isfinite().all():
            raise fail(key, "has values that are not finite (NaN or infinity)", again)
        if key.endswith("running_var") and bool((state[key] < 0).any()):
            channel = int((state[key] < 0).int().argmax())
            raise fail(key, f"has a negative variance ({float(state[key][channel]):.3g} in channel {channel})", again)
        state[key] = state[key].float()
    for key in state:
        if key not in shapes and not key.endswith("num_batches_tracked"):
            raise fail(key, f"has no place in EfficientViT-{spec.name}", "remove it from the checkpoint")
