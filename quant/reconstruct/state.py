"""The directory of finished blocks, from which an interrupted reconstruction goes on."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from quant.ptq.encoding import Encoding
from quant.ptq.graph import FloatLayer
from quant.ptq.options import Options
from quant.ptq.rounding import Rounded
from quant.reconstruct.learn import Result
from triovit import files
from triovit.errors import UserError

SCHEMA, MARKER = "triovit-reconstruction", "state.json"
#: Rises when the same inputs no longer give the same blocks.
VERSION = 3
_ERRORS = "errors"


def key(layers: Iterable[FloatLayer], pictures: Tensor, encodings: dict[str, Encoding], options: Options, device: str) -> str:
    """Hash of all that a reconstruction depends on: the network, the pictures, where it begins and the settings."""
    found = hashlib.sha256(json.dumps([VERSION, torch.__version__, device, options.to_dict()]).encode())
    for layer in layers:
        found.update(repr(layer.op).encode())
        for tensor in (layer.weight, layer.bias):
            found.update(tensor.numpy().tobytes())
    for name, encoding in encodings.items():
        found.update(f"{name} {encoding.scale!r} {encoding.remedy}".encode())
        found.update(encoding.factors.numpy().tobytes() + encoding.zeros.numpy().tobytes())
    found.update(repr(tuple(pictures.shape)).encode() + pictures.numpy().tobytes())
    return found.hexdigest()


class State:
    """One file a block in ``directory``, each written whole or not at all.

    Raises
    ------
    UserError
        The directory holds something else, or blocks of another network, other pictures or other settings.
    """

    def __init__(self, directory: Path, wanted: str):
        files.check_place(directory, MARKER, SCHEMA)
        self.directory, marker = directory, directory / MARKER
        if not marker.exists():
            files.write_json(marker, {"schema": SCHEMA, "key": wanted})
            return
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))["key"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{marker}: cannot be read ({error}); remove {directory}") from error
        if found != wanted:
            raise UserError(
                f"{directory}: holds blocks of another network, other pictures or other settings; repeat the command that was "
                "interrupted, or remove the directory"
            )

    def load(self, name: str) -> Result | None:
        """The block's result, if it was finished.

        Raises
        ------
        UserError
            The file cannot be read.
        """
        file = self._file(name)
        if not file.exists():
            return None
        try:
            tensors = safetensors.torch.load(file.read_bytes())
            return _unpacked(tensors)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise UserError(f"{file}: cannot be read ({error}); remove it, and the block is learned again") from error

    def save(self, name: str, result: Result) -> None:
        """Keep the block's result."""
        files.write_bytes(self._file(name), safetensors.torch.save(_packed(result)))

    def _file(self, name: str) -> Path:
        return self.directory / f"{name}.safetensors"


def _packed(result: Result) -> dict[str, Tensor]:
    tensors = {_ERRORS: torch.tensor(result.errors, dtype=torch.float64)}
    for name, rounded in result.rounded.items():
        tensors |= {f"{name}:{part}": getattr(rounded, part) for part in ("weight", "scales", "bias")}
    for name, encoding in result.encodings.items():
        tensors[f"{name}:{encoding.remedy}"] = torch.tensor(encoding.scale, dtype=torch.float64)
        tensors |= {f"{name}:factors": encoding.factors, f"{name}:zeros": encoding.zeros}
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


def _unpacked(tensors: dict[str, Tensor]) -> Result:
    errors = tensors.pop(_ERRORS).tolist()
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(":")
        parts.setdefault(layer, {})[part] = tensor
    rounded = {
        layer: Rounded(found["weight"], found["scales"], found["bias"]) for layer, found in parts.items() if "weight" in found
    }
    encodings = {}
    for layer, found in parts.items():
        if "factors" in found:
            remedy = (set(found) - {"weight", "scales", "bias", "factors", "zeros"}).pop()
            encodings[layer] = Encoding(float(found[remedy]), found["factors"], found["zeros"], remedy)
    return Result(rounded, encodings, tuple(errors))
