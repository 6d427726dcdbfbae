"""The artifact on disk (docs/artifact.md): read, checked whole, written whole or not at all. Needs no torch."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from quant.artifact_rules import REMEDY, check_layers
from quant.layer import KINDS, Layer, Post, Residual
from quant.tensor_file import LazyTensors, read_tensors
from triovit.errors import UserError
from triovit.files import atomic_directory

__all__ = ["FLOAT", "MANIFEST", "SCHEMA", "TENSORS", "VERSION", "Artifact", "Layer", "Post", "Residual"]

SCHEMA, VERSION = "triovit-artifact", 4
MANIFEST, TENSORS = "manifest.json", "tensors.safetensors"
#: The float network's tensors; optional.
FLOAT = "float.safetensors"
_LAYER_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "kind": str,
    "inputs": list,
    "output_shape": list,
    "output_scale": (int, float),
}


@dataclass
class Artifact:
    """A network of integers: the manifest's fields and the layers with their arrays.

    ``network`` has ``name``, ``resolution`` ``[H, W]``, ``classes`` and ``task``; ``float_score`` is the manifest's ``float``.
    ``float_weights`` is the float network's state dict under mit-han-lab's names, if it travels with the artifact; of an artifact
    that was loaded it is read (and its hash checked) when it is first used, which raises what loading raises.
    """

    network: dict[str, Any]
    layers: list[Layer]
    output: str
    input_name: str = "image"
    input_shape: tuple[int, ...] = (3, 32, 32)
    quantization: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    float_score: dict[str, Any] = field(default_factory=dict)
    float_weights: Mapping[str, NDArray[np.float32]] | None = None

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises
        ------
        UserError
            No such layer.
        """
        if name not in self._by_name:
            raise UserError(f"layer {name!r} is unknown; the network {self.network.get('name')} has {', '.join(self._by_name)}")
        return self._by_name[name]

    def mapped(self) -> "Artifact":
        """Return the part that the accelerator runs: all of a classifier, of a segmentation network the backbone."""
        if self.network.get("task") != "segmentation":
            return self
        layers = [layer for layer in self.layers if not layer.name.startswith("head.")]
        network = {**self.network, "task": "backbone"}
        return replace(self, network=network, layers=layers, output=layers[-1].name, float_score={})

    def check(self, file: str = "artifact") -> None:
        """Check every layer against the contract.

        Raises
        ------
        UserError
            The first layer that breaks it; ``file`` begins the message.
        """
        check_layers(self.layers, self.input_name, self.input_shape, self.output, file)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the directory ``path``: beside it first, then renamed, so that a reader finds it whole or not at all.

        The same artifact gives the same bytes. An artifact that is already there is replaced.

        Raises
        ------
        UserError
            The artifact breaks the contract, ``path`` is something else than an artifact, or it cannot be written.
        """
        path = Path(path)
        self.check(str(path))
        tensors = {
            f"{layer.name}.{name}": np.ascontiguousarray(array) for layer in self.layers for name, array in layer.arrays.items()
        }
        payloads = {TENSORS: safetensors.numpy.save(tensors)}
        if self.float_weights is not None:
            payloads[FLOAT] = safetensors.numpy.save(
                {name: np.ascontiguousarray(values, np.float32) for name, values in self.float_weights.items()}
            )
        manifest = self._manifest({name: hashlib.sha256(payload).hexdigest() for name, payload in payloads.items()})
        manifest["sha256"] = _digest(manifest)
        with atomic_directory(path, MANIFEST) as beside:
            for name, payload in payloads.items():
                (beside / name).write_bytes(payload)
            (beside / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def _manifest(self, digests: dict[str, str]) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "network": self.network,
            "input": {"tensor": self.input_name, "shape": list(self.input_shape)},
            "layers": [_layer_to_dict(layer) for layer in self.layers],
            "output": self.output,
            "quantization": self.quantization,
            "calibration": self.calibration,
            "float": self.float_score,
            "files": digests,
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Artifact":
        """Read and check the directory ``path``.

        Raises
        ------
        UserError
            A file is missing, damaged or of another schema, or a layer breaks the contract.
        """
        path = Path(path)
        file = path / MANIFEST
        manifest = _read_manifest(file)
        arrays = read_tensors(path / TENSORS, manifest["files"].get(TENSORS))
        layers = [_layer_from_dict(entry, arrays, f"{file}") for entry in manifest["layers"]]
        source = manifest["input"]
        if not isinstance(source.get("tensor"), str) or not _is_shape(source.get("shape"), 3):
            raise UserError(f"{file}: field input must have a tensor name and a shape [C, H, W]; {REMEDY}")
        artifact = cls(
            network=manifest["network"],
            layers=layers,
            output=manifest["output"],
            input_name=source["tensor"],
            input_shape=tuple(source["shape"]),
            quantization=manifest["quantization"],
            calibration=manifest["calibration"],
            float_score=manifest["float"],
            float_weights=LazyTensors(path / FLOAT, manifest["files"][FLOAT]) if FLOAT in manifest["files"] else None,
        )
        artifact.check(str(file))
        if arrays:
            raise UserError(f"{path / TENSORS}: tensor {min(arrays)} belongs to no layer; {REMEDY}")
        # Last, so that what can be named has been named.
        if manifest.get("sha256") != _digest(manifest):
            raise UserError(f"{file}: differs from its own sha256 (changed after it was written); {REMEDY}")
        return artifact


def _digest(manifest: dict[str, Any]) -> str:
    """Hash of everything in a manifest but the hash itself, whatever the order and the spaces."""
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read_manifest(file: Path) -> dict[str, Any]:
    if not file.parent.is_dir():
        raise UserError(f"{file.parent}: no such artifact; quantize a network first, or correct the path")
    if not file.is_file():
        raise UserError(f"{file}: is missing; {REMEDY}")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{file}: is no readable JSON ({error}); {REMEDY}") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise UserError(f"{file}: is no {SCHEMA}; give the directory that quantizing wrote")
    version = manifest.get("version")
    if type(version) is not int or version < VERSION:
        raise UserError(f"{file}: version is {version!r}, and must be {VERSION}; {REMEDY}")
    if version > VERSION:
        raise UserError(f"{file}: version {version} is newer than this program reads ({VERSION}); update triovit, or {REMEDY}")
    wanted = {
        "network": dict,
        "input": dict,
        "layers": list,
        "output": str,
        "quantization": dict,
        "calibration": dict,
        "float": dict,
        "files": dict,
    }
    for name, kind in wanted.items():
        if not isinstance(manifest.get(name), kind):
            raise UserError(f"{file}: field {name} is missing or of the wrong type; {REMEDY}")
    return manifest


def _is_shape(value: object, rank: int = 0) -> bool:
    return isinstance(value, list) and bool(value) and rank in (0, len(value)) and all(type(n) is int and n > 0 for n in value)


def _layer_to_dict(layer: Layer) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": layer.name,
        "kind": layer.kind,
        "inputs": list(layer.inputs),
        "output_shape": list(layer.output_shape),
        "output_scale": layer.output_scale,
        **layer.attrs,
    }
    if layer.post is not None:
        entry["post"] = asdict(layer.post)
    return entry


def _layer_from_dict(entry: Any, arrays: dict[str, Any], file: str) -> Layer:
    """The layer of a manifest entry; takes its arrays out of ``arrays``."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise UserError(f"{file}: a layer has no name; {REMEDY}")
    entry, where = dict(entry), f"{file}: layer {entry['name']}"
    for name, kind in _LAYER_FIELDS.items():
        if not isinstance(entry.get(name), kind):
            raise UserError(f"{where}: field {name} is missing or of the wrong type; {REMEDY}")
    if not _is_shape(entry["output_shape"]):
        raise UserError(f"{where}: output_shape is {entry['output_shape']}, and must be whole numbers of at least 1; {REMEDY}")
    fields = {name: entry.pop(name) for name in _LAYER_FIELDS}
    post = entry.pop("post", None)
    wanted = KINDS.get(fields["kind"], ({}, ()))[1]
    found = {name: arrays.pop(f"{fields['name']}.{name}") for name in wanted if f"{fields['name']}.{name}" in arrays}
    return Layer(
        name=fields["name"],
        kind=fields["kind"],
        inputs=tuple(map(str, fields["inputs"])),
        output_shape=tuple(fields["output_shape"]),
        output_scale=float(fields["output_scale"]),
        attrs=entry,
        post=None if post is None else _post_from_dict(post, where),
        arrays=found,
    )


def _post_from_dict(entry: Any, where: str) -> Post:
    try:
        residual = entry["residual"]
        return Post(
            act=entry["act"],
            out_shift=entry["out_shift"],
            residual=None if residual is None else Residual(residual["tensor"], residual["zero"]),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{where}: field post is missing or of the wrong type; {REMEDY}") from error
