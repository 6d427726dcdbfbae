"""What quantization costs, tensor by tensor and quantizer by quantizer, beside the float network on the same pictures.

Signal to quantization noise (SQNR) is ``10 log10(sum x^2 / sum (x - y)^2)`` in dB over all values of all pictures, ``x`` the
float network's and ``y`` the other's; infinite where nothing differs.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quant.data import Pictures, Progress
from quant.ptq.fake import OUTPUT, WEIGHT, FakeNetwork, Quantizer

#: Bytes of float tensors that are held at once, about.
_HELD = 1 << 29
_BATCH = 16

#: Integer tensors by the contract's name, the picture as first axis.
Integers = Callable[[Pictures], Mapping[str, NDArray[Any]]]


class Source(Protocol):
    """Pictures uint8 ``[N, 3, H, W]``: an array, or files that are read as slices are taken."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, part: slice, /) -> Pictures:
        """Some of them."""


class Scorer(Protocol):
    """Compares logits with labels, batch by batch."""

    def add(self, logits: NDArray[Any], labels: Any) -> object:
        """Score a batch."""

    @property
    def score(self) -> float:
        """Of all batches, 0 .. 1."""


@dataclass(frozen=True)
class Labelled:
    """Labels of the pictures, in slices as the pictures, and a new scorer for each network."""

    labels: Any
    scorer: Callable[[], Scorer]


@dataclass(frozen=True)
class QuantizerError:
    """The error at one quantizer; SQNR in dB."""

    layer: str
    kind: str
    #: One of `quant.ptq.fake.PARTS`.
    part: str
    #: Of the layer's tensor in the integer network: everything before it included. None for what is no layer's tensor.
    accumulated: float | None
    #: Of this quantizer alone: the float tensor rounded, the weights rounded, or attention's output with this part rounded.
    alone: float


@dataclass(frozen=True)
class Effect:
    """The network's output beside the float network's."""

    #: Of the logits, in dB.
    sqnr: float
    #: Share of pictures (of the logits' pixels, where they are a map) with the largest logit in the same class.
    agreement: float
    #: 0 .. 1; None without labels.
    score: float | None
    #: ``score`` less the float network's.
    score_change: float | None


@dataclass(frozen=True)
class QuantizerEffect:
    """What the float network loses when this quantizer alone rounds."""

    layer: str
    part: str
    effect: Effect


@dataclass(frozen=True)
class Errors:
    """All that was found."""

    images: int
    float_score: float | None
    #: The integer network.
    integer: Effect
    #: In execution order.
    quantizers: list[QuantizerError]
    #: The most harmful first, by the logits' SQNR; None where it was not asked for.
    effects: list[QuantizerEffect] | None


class Noise:
    """SQNR, batch by batch."""

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def add(self, right: Tensor, other: Tensor) -> None:
        """Add values of the same shape."""
        self._signal += float(right.double().square().sum())
        self._noise += float((right.double() - other.double()).square().sum())

    @property
    def sqnr(self) -> float:
        """In dB; infinite without noise, and minus infinite with nothing but noise."""
        if self._noise == 0:
            return math.inf
        return 10 * math.log10(self._signal / self._noise) if self._signal else -math.inf


class _Logits:
    """The output of one network beside the float network's, batch by batch."""

    def __init__(self, scorer: Scorer | None) -> None:
        self._noise, self._same, self._all, self._scorer = Noise(), 0, 0, scorer

    def add(self, right: Tensor, other: Tensor, labels: Any) -> None:
        self._noise.add(right, other)
        same = right.argmax(1) == other.argmax(1)
        self._same, self._all = self._same + int(same.sum()), self._all + same.numel()
        if self._scorer is not None:
            self._scorer.add(other.numpy(), labels)

    @property
    def score(self) -> float | None:
        return None if self._scorer is None else self._scorer.score

    def effect(self, float_score: float | None) -> Effect:
        score = self.score
        change = None if score is None or float_score is None else score - float_score
        return Effect(self._noise.sqnr, self._same / self._all, score, change)


def quantization_errors(
    fake: FakeNetwork,
    integers: Integers,
    pictures: Source,
    *,
    labelled: Labelled | None = None,
    effects: bool = False,
    progress: Progress | None = None,
) -> Errors:
    """Set the integer network and every quantizer by itself beside the float network.

    Parameters
    ----------
    fake
        The float network with the integer network's quantizers.
    integers
        Gives the integers of every layer for some pictures: the golden model.
    pictures
        Of the network's size, at least one.
    labelled
        Their labels, for scores.
    effects
        Also run the network once for each quantizer, to see its effect on the output.
    progress
        Called as ``progress("errors", quantizers and pictures done, all)``.
    """
    count = len(pictures)
    scorer = (lambda: None) if labelled is None else labelled.scorer
    tensors = _Tensors(fake)
    reference, integer = _Logits(scorer()), _Logits(scorer())
    alone = {quantizer: _Logits(scorer()) for quantizer in fake.quantizers} if effects else {}
    done, output = 0, fake.artifact.output

    def advance(images: int) -> None:
        nonlocal done
        done += images
        if progress:
            progress("errors", done, count * (1 + len(alone)))

    advance(0)
    size = _batch(fake)
    for first in range(0, count, size):
        part = slice(first, min(first + size, count))
        given, labels = np.asarray(pictures[part]), None if labelled is None else labelled.labels[part]
        batch, whole = torch.from_numpy(given), integers(given)
        floats = fake.run(batch)
        tensors.add(floats, whole)
        reference.add(floats[output], floats[output], labels)
        integer.add(floats[output], tensors.real(output, whole), labels)
        advance(len(given))
        for quantizer, logits in alone.items():
            logits.add(floats[output], fake.run(batch, [quantizer], given=floats, keep_all=False)[output], labels)
            advance(len(given))
    found = [QuantizerEffect(q.layer, q.part, logits.effect(reference.score)) for q, logits in alone.items()]
    return Errors(
        images=count,
        float_score=reference.score,
        integer=integer.effect(reference.score),
        quantizers=tensors.errors(),
        effects=sorted(found, key=lambda one: one.effect.sqnr) if effects else None,
    )


class _Tensors:
    """The error at every quantizer, batch by batch."""

    def __init__(self, fake: FakeNetwork) -> None:
        self._fake = fake
        self._accumulated = {layer.op.name: Noise() for layer in fake.layers}
        self._alone = {quantizer: Noise() for quantizer in fake.quantizers}
        self._floats = {layer.op.name: layer for layer in fake.layers}
        for name, layer in fake.quantized.items():
            self._alone[Quantizer(name, WEIGHT)].add(self._floats[name].weight, layer.weight)

    def real(self, name: str, whole: Mapping[str, NDArray[Any]]) -> Tensor:
        """What the integer network's tensor stands for."""
        return self._fake.codings[name].real(torch.from_numpy(whole[name]))

    def add(self, floats: Mapping[str, Tensor], whole: Mapping[str, NDArray[Any]]) -> None:
        for name, noise in self._accumulated.items():
            noise.add(floats[name], self.real(name, whole))
        for quantizer, noise in self._alone.items():
            if quantizer.part != WEIGHT:
                noise.add(floats[quantizer.layer], self._fake.rounded(quantizer, floats))

    def errors(self) -> list[QuantizerError]:
        return [
            QuantizerError(
                quantizer.layer,
                self._floats[quantizer.layer].op.kind,
                quantizer.part,
                self._accumulated[quantizer.layer].sqnr if quantizer.part == OUTPUT else None,
                noise.sqnr,
            )
            for quantizer, noise in self._alone.items()
        ]


def _batch(fake: FakeNetwork) -> int:
    """Pictures whose float tensors can be held at once."""
    values = sum(math.prod(layer.op.output_shape) for layer in fake.layers)
    return max(1, min(_BATCH, _HELD // (values * torch.float32.itemsize)))
