"""Where two runs differ first: traces compared with ==, in the order of the layers."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from sim.golden.arithmetic import Ints
from sim.golden.trace import Trace
from triovit.errors import InternalError

#: Tells the clock cycle at which the hardware wrote an element of a tensor, where it is known.
CycleOf = Callable[[str, tuple[int, ...]], int | None]


@dataclass(frozen=True)
class Divergence:
    """The first element that differs."""

    layer: str
    tensor: str
    #: Position in the tensor, the picture first.
    index: tuple[int, ...]
    expected: int
    got: int
    #: When the hardware wrote it, if known.
    cycle: int | None = None

    def __str__(self) -> str:
        position = ", ".join(map(str, self.index))
        cycle = "" if self.cycle is None else f" at cycle {self.cycle}"
        return f"layer {self.layer}: {self.tensor}[{position}] is {self.got}{cycle}, and must be {self.expected}"


@dataclass(frozen=True)
class Comparison:
    """What a comparison found."""

    #: Layers of which at least one tensor was compared.
    layers: int
    tensors: int
    elements: int
    #: Elements that differ, over all tensors.
    mismatches: int
    #: Layers with at least one such element, in execution order.
    wrong_layers: tuple[str, ...]
    first: Divergence | None

    @property
    def equal(self) -> bool:
        """True when something was compared and nothing differs."""
        return self.elements > 0 and self.mismatches == 0

    def __str__(self) -> str:
        extent = f"{self.layers} layers, {self.tensors} tensors, {self.elements} values"
        if self.first is None:
            return f"{extent} compared: all equal"
        return f"{self.first} ({extent} compared: {self.mismatches} values in {len(self.wrong_layers)} layers differ)"


def compare(expected: Trace, got: Trace, *, only: Collection[str] | None = None, cycle_of: CycleOf | None = None) -> Comparison:
    """Compare every tensor of ``expected`` with the same tensor of ``got``.

    Parameters
    ----------
    expected, got
        Two runs over the same pictures. Values count, not the width of their types.
    only
        Names of the tensors to compare; all that ``expected`` keeps when None.
    cycle_of
        Adds the cycle to the first divergence.

    Raises
    ------
    InternalError
        The traces cannot be compared: a tensor is missing, has another shape or is not of integers.
    """
    owner = {tensor: layer for layer in expected.layers for tensor in expected.of_layer(layer)}
    wanted = [tensor for tensor in owner if only is None or tensor in only]
    absent = sorted(set(only or ()) - set(wanted))
    if absent:
        raise InternalError(f"the expected trace has no tensor {absent[0]}")
    for tensor in wanted:
        _require_comparable(tensor, expected, got)

    first: Divergence | None = None
    elements = mismatches = 0
    wrong_layers: dict[str, None] = {}
    for tensor in wanted:
        left, right = expected.tensors[tensor], got.tensors[tensor]
        wrong = left != right
        count = int(np.count_nonzero(wrong))
        elements += left.size
        mismatches += count
        if count:
            wrong_layers[owner[tensor]] = None
            first = first or _divergence(owner[tensor], tensor, left, right, cycle_of)
    return Comparison(
        layers=len({owner[tensor] for tensor in wanted}),
        tensors=len(wanted),
        elements=elements,
        mismatches=mismatches,
        wrong_layers=tuple(wrong_layers),
        first=first,
    )


def _require_comparable(tensor: str, expected: Trace, got: Trace) -> None:
    if tensor not in got.tensors:
        raise InternalError(f"the trace under test has no tensor {tensor}")
    left, right = expected.tensors[tensor], got.tensors[tensor]
    if left.shape != right.shape:
        raise InternalError(f"tensor {tensor} has shape {list(right.shape)}, and must have {list(left.shape)}")
    for array in (left, right):
        if array.dtype.kind not in "iu":
            raise InternalError(f"tensor {tensor} is {array.dtype}, and must be integers")


def _divergence(layer: str, tensor: str, expected: Ints, got: Ints, cycle_of: CycleOf | None) -> Divergence:
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(expected != got)), expected.shape))
    cycle = None if cycle_of is None else cycle_of(tensor, index)
    return Divergence(layer, tensor, index, int(expected[index]), int(got[index]), cycle)
