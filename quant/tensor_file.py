"""Tensors in a safetensors file with a known hash: read whole and checked, at once or when they are first asked for."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from quant.artifact_rules import REMEDY
from triovit.errors import UserError


def read_tensors(file: Path, digest: object) -> dict[str, NDArray[Any]]:
    """Every tensor of ``file``, whose sha256 must be ``digest``.

    Raises
    ------
    UserError
        The file is missing, cannot be read, has another hash or is no safetensors file.
    """
    if not file.is_file():
        raise UserError(f"{file}: is missing; {REMEDY}")
    try:
        payload = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check the permissions") from error
    if hashlib.sha256(payload).hexdigest() != digest:
        raise UserError(f"{file}: differs from the manifest's sha256 (truncated or changed); {REMEDY}")
    try:
        tensors: dict[str, NDArray[Any]] = safetensors.numpy.load(payload)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{file}: is no safetensors file; {REMEDY}") from error
    return tensors


class LazyTensors(Mapping[str, NDArray[np.float32]]):
    """The tensors of a file as a mapping that reads it when first used; then raises what `read_tensors` raises."""

    def __init__(self, file: Path, digest: object) -> None:
        self._file, self._digest = file, digest

    @cached_property
    def _tensors(self) -> dict[str, NDArray[np.float32]]:
        tensors = read_tensors(self._file, self._digest)
        for name, values in tensors.items():
            if values.dtype != np.float32:
                raise UserError(f"{self._file}: tensor {name} is {values.dtype}, and must be float32; {REMEDY}")
        return tensors

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
