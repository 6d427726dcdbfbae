"""Which of its codes each attention layer's divisors use, from the golden model's ``.code`` tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant.artifact import Artifact
from quant.contract import CODE_BITS


@dataclass(frozen=True)
class DivisorCodes:
    """The divisors of one attention layer: of all pictures, heads and pixels."""

    layer: str
    #: 4 or 10.
    code_bits: int
    #: How many divisors have each code, ``2^code_bits`` numbers. A divisor of 0, and any below the window, has code 0.
    codes: tuple[int, ...]
    #: The whole binary logarithm that ``exponents`` begins with.
    lowest: int
    #: How many divisors have each whole logarithm, which is the code's plus the head's ``div_min``.
    exponents: tuple[int, ...]


class DivisorCounts:
    """Counts codes batch by batch."""

    def __init__(self, artifact: Artifact) -> None:
        self._layers = [layer for layer in artifact.layers if layer.kind == "attention"]
        #: By layer: int64 ``[heads, codes]``.
        self._counts = {
            layer.name: np.zeros((layer.attrs["heads"], 1 << layer.attrs["code_bits"]), np.int64) for layer in self._layers
        }

    def add(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Add the tensors of some pictures; ``<layer>.code`` is uint16 ``[N, heads, P]``."""
        for name, counts in self._counts.items():
            for head, codes in enumerate(tensors[f"{name}.code"].swapaxes(0, 1)):
                counts[head] += np.bincount(codes.ravel(), minlength=counts.shape[1])

    def found(self) -> list[DivisorCodes]:
        """What was counted, in execution order."""
        found = []
        for layer in self._layers:
            counts, least = self._counts[layer.name], layer.arrays["div_min"]
            whole = counts.reshape(len(counts), 1 << CODE_BITS, -1).sum(2)
            exponents = np.zeros(int(least.max()) + (1 << CODE_BITS), np.int64)
            for head, first in zip(whole, least, strict=True):
                exponents[first : first + len(head)] += head
            used = np.flatnonzero(exponents)
            low, high = (int(used[0]), int(used[-1])) if len(used) else (0, -1)
            found.append(
                DivisorCodes(
                    layer.name,
                    layer.attrs["code_bits"],
                    tuple(counts.sum(0).tolist()),
                    low,
                    tuple(exponents[low : high + 1].tolist()),
                )
            )
        return found
