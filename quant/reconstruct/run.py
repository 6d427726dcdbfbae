"""All blocks, one after the other: learn, compare in integers, keep the best."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, log10
from pathlib import Path

import torch
from torch import Tensor

from quant.data import Progress
from quant.layer import Layer
from quant.networks.model import EfficientViT
from quant.ptq.encoding import Encoding
from quant.ptq.export import Exporter
from quant.ptq.graph import FloatLayer
from quant.ptq.observe import Observations
from quant.ptq.options import Options
from quant.ptq.rounding import effective
from quant.reconstruct.blocks import Block, blocks
from quant.reconstruct.fake import FakeBlock, Weights
from quant.reconstruct.learn import Lesson, Result
from quant.reconstruct.maps import Maps
from quant.reconstruct.samples import Samples
from quant.reconstruct.sensitivity import sensitivities
from quant.reconstruct.state import State, key
from triovit.errors import UserError

#: Every so manieth picture is held back to compare results with.
HELD_BACK = 8
#: Bytes that the float network's maps between blocks may take; fewer pictures are learned from where it is not enough.
MEMORY = 2 << 30

Export = Callable[[Exporter, FloatLayer], Layer]


@dataclass(frozen=True)
class Reconstructed:
    """Learned weights and encodings of all layers.

    The report has each block's signal-to-noise ratios in dB, None where the integers broke a bound.
    """

    result: Result
    report: dict[str, list[float | None]]


class Reconstruction:
    """Learns the blocks of a network; see :func:`reconstruct`."""

    def __init__(self, exporter: Exporter, export: Export, maps: Maps, place: torch.device):
        self.exporter, self.export, self.maps, self.place = exporter, export, maps, place
        count, everyone = maps.count, torch.arange(maps.count)
        self.held_back = everyone[HELD_BACK - 1 :: HELD_BACK] if count >= HELD_BACK else everyone[-1:]
        self.learned_from = everyone[~torch.isin(everyone, self.held_back)] if count > 1 else everyone

    def fork(self, result: Result) -> Exporter:
        """An exporter that has what is finished and ``result``."""
        own = self.exporter
        return Exporter({**own.encodings, **result.encodings}, own.seen, own.options, {**own.learned, **result.rounded})

    def layers(self, exporter: Exporter, block: Block) -> list[Layer]:
        """Export the block."""
        return [self.export(exporter, layer) for layer in block.layers]

    def first(self, block: Block, encodings: dict[str, Encoding] | None = None) -> Result:
        """The block's weights rounded without learning, with the encodings of its tensors as they were chosen, or with others."""
        encodings = encodings or {op.name: self.exporter.encodings[op.name] for op in block.ops}
        exporter = self.fork(Result({}, encodings))
        return Result({layer.op.name: exporter.rounded(layer) for layer in block.layers if layer.op.weights}, encodings)

    def error(self, block: Block, result: Result, target: Tensor, sensitivity: Tensor) -> float:
        """Weighted mean squared error of the integer block on the pictures held back, in relation to the target's variance."""
        exporter = self.fork(result)
        made = self.layers(exporter, block)
        codes = self.maps.integers(made, block, self.held_back).double()
        shape = (1, -1, *[1] * (codes.ndim - 2))
        if made[-1].logits:
            real = codes * made[-1].output_scale
        else:
            encoding = exporter.encodings[block.output.name]
            real = (codes - encoding.zeros.reshape(shape)) * (encoding.scale * encoding.factors).reshape(shape)
        wanted = target[self.held_back].double()
        weigh = sensitivity.double().reshape(shape)
        return float(
            ((real - wanted).square() * weigh).mean() / ((wanted - wanted.mean()).square() * weigh).mean().clamp(min=1e-30)
        )

    def learn(self, block: Block, target: Tensor, sensitivity: Tensor, seed: int, tick: Callable[[], None]) -> Result:
        """Learn the block; after each pass what is better on the pictures held back is kept."""
        iterations, generator = self.exporter.options.iterations, torch.Generator().manual_seed(seed)
        best = self.first(block)
        errors = [self.error(block, best, target, sensitivity)]

        def lesson() -> Lesson:
            exporter = self.fork(best)
            fake = self.fake(block, exporter, best).to(self.place)
            return Lesson(fake, self.samples(block, target, exporter.encodings), sensitivity, generator, tick)

        def judge(result: Result) -> Result:
            try:
                errors.append(self.error(block, result, target, sensitivity))
            except UserError:
                # A bound of the contract does not hold with it.
                errors.append(inf)
            return result if errors[-1] < min(errors[:-1]) else best

        for attention in _passes(self.exporter.options, block):
            now = lesson()
            now.steps(now.fake.attention_steps() if attention else list(now.fake.steps.values()), iterations // 2)
            encodings = now.fake.learned_encodings(best.encodings)
            best = judge(self._biased(self.first(block, encodings), now.fake))
        if best.rounded:
            now = lesson()
            now.rounding(iterations)
            exporter, learned = self.fork(best), now.fake.learned_weights()
            rounded = {
                layer.op.name: exporter.corrected(layer, learned[layer.op.name])
                for layer in block.layers
                if layer.op.name in learned
            }
            best = judge(self._biased(Result(rounded, best.encodings), now.fake))
        return replace(best, errors=tuple(errors))

    @staticmethod
    def _biased(result: Result, fake: FakeBlock) -> Result:
        """The result with the learned change of the biases."""
        moved = fake.moved_biases()
        return replace(
            result,
            rounded={name: replace(found, bias=found.bias + moved[name]) for name, found in result.rounded.items()},
        )

    def fake(self, block: Block, exporter: Exporter, result: Result) -> FakeBlock:
        """The block as it learns, beginning with ``result``; ``exporter`` has it, and is left as it is after the block."""
        made, weights = self.layers(exporter, block), {}
        for layer in block.layers:
            if (found := result.rounded.get(layer.op.name)) is not None:
                out = exporter.encodings[layer.op.name]
                wanted = effective(layer, exporter.encodings[layer.op.inputs[0]])
                moved = found.bias - exporter.corrected(layer, found).bias
                weights[layer.op.name] = Weights(wanted, layer.bias, moved, found, out.scale * out.factors)
        return FakeBlock(block, exporter.encodings, weights, made)

    def samples(self, block: Block, target: Tensor, encodings: dict[str, Encoding]) -> Samples:
        """What the block learns from."""
        chosen = self.learned_from
        codes = {name: self.maps.codes[name][chosen] for name in block.inputs}
        return Samples(block, codes, target[chosen], encodings, self.place)


def reconstruct(
    network: EfficientViT,
    layers: list[FloatLayer],
    pictures: Tensor,
    encodings: dict[str, Encoding],
    seen: Observations,
    options: Options,
    export: Export,
    *,
    directory: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Reconstructed:
    """Learn the weights' rounding, the biases and activations' steps of every block, in execution order.

    Parameters
    ----------
    network, layers
        The float network in evaluation mode and its layers.
    pictures
        uint8 ``[N, 3, H, W]``. Every eighth is held back, and what is not better on these is not kept.
    encodings, seen, options
        What is known without learning.
    export
        Makes a layer of integers.
    directory
        Keeps the finished blocks; those that are there are not learned again.
    device
        Where blocks are learned, ``"cpu"`` or ``"cuda"``.
    progress
        Called with ``("reconstructing", iterations done, in all)``.

    Raises
    ------
    UserError
        ``directory`` belongs to something else, or there is no such device.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device {device}: torch finds none; reconstruct on the cpu, or install torch for the device")
    pictures, found = _affordable(pictures, layers), blocks(layers)
    state = State(directory, key(layers, pictures, encodings, options, device)) if directory else None
    finished = [state.load(block.name) if state else None for block in found]
    total = sum(
        options.iterations // 2 * len(_passes(options, block)) + options.iterations * any(op.weights > 0 for op in block.ops)
        for block, result in zip(found, finished, strict=True)
        if result is None
    )
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress("reconstructing", done, total)

    weigh = sensitivities(network, layers, [block.output.name for block in found], pictures, options.seed)
    maps = Maps(network, found, pictures)
    learned = Result({}, {})
    report: dict[str, list[float | None]] = {}
    exporter = Exporter(dict(encodings), seen, options, {})
    work = Reconstruction(exporter, export, maps, torch.device(device))
    for index, (block, result) in enumerate(zip(found, finished, strict=True)):
        target, sensitivity = maps.target(block), weigh[block.output.name]
        if result is None:
            result = work.learn(block, target, sensitivity, options.seed + index, tick)
            if state:
                state.save(block.name, result)
        report[block.name] = [_decibels(error) for error in result.errors]
        learned = Result({**learned.rounded, **result.rounded}, {**learned.encodings, **result.encodings})
        work.exporter = work.fork(result)
        made = work.layers(work.exporter, block)
        everyone = torch.arange(len(pictures))
        maps.advance(index, block, target, maps.integers(made, block, everyone))
    return Reconstructed(learned, report)


def _passes(options: Options, block: Block) -> list[bool]:
    """The passes that learn the block's steps: of all activations (False), of attention's (True)."""
    everything, attention = options.learned_steps == "all", options.learned_steps != "none"
    return [False] * everything + [True] * (attention and block.attends)


def _decibels(error: float) -> float | None:
    return None if error == inf else round(-10 * log10(max(error, 1e-30)), 2)


def _affordable(pictures: Tensor, layers: list[FloatLayer]) -> Tensor:
    """As many of the pictures, evenly taken, as there is memory for."""
    largest = max(layer.op.c_out * layer.op.size_out[0] * layer.op.size_out[1] for layer in layers)
    count = max(2, MEMORY // (4 * largest))
    return pictures[:: -(-len(pictures) // count)]
