"""How a block learns: its steps, and its weights' rounding."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quant.ptq.encoding import Encoding
from quant.ptq.rounding import Rounded
from quant.reconstruct.fake import FakeBlock, Step
from quant.reconstruct.samples import Samples

#: Learning rates: of the roundings, of the biases (in steps of the output), and of the steps' logarithms.
ROUNDING_RATE, BIAS_RATE, STEP_RATE = 1e-2, 2e-3, 1.5e-2
#: Weight of the rounding loss beside the reconstruction's, which is 1 at first; its exponent's range, and the share of the
#: iterations before it counts.
ROUNDING_LOSS, EXPONENTS, WARM_UP = 0.5, (20.0, 2.0), 0.2


@dataclass(frozen=True)
class Result:
    """Weights and encodings by layer."""

    rounded: dict[str, Rounded]
    encodings: dict[str, Encoding]
    #: Relative errors on the pictures held back: as rounded at first, then after each pass.
    errors: tuple[float, ...] = ()


class Lesson:
    """Learns a block from samples.

    ``sensitivity`` (``[C]``) weighs the squared errors of the output's channels; ``tick`` is called after each iteration.
    """

    def __init__(
        self,
        fake: FakeBlock,
        samples: Samples,
        sensitivity: Tensor,
        generator: torch.Generator,
        tick: Callable[[], None],
    ):
        self.fake, self.samples, self.generator, self.tick = fake, samples, generator, tick
        self.weigh = sensitivity.to(samples.place).reshape(1, -1, *[1] * (samples.target.ndim - 2))
        self.weights = list(fake.weights.values())
        self._set_mode("first")
        with torch.no_grad():
            self.unit = float(torch.stack([self._error() for _ in range(4)]).mean()) or 1.0

    def _set_mode(self, mode: str) -> None:
        for layer in self.weights:
            layer.mode = mode

    def _error(self) -> Tensor:
        batch = self.samples.draw(self.generator)
        return ((self.fake(batch.inputs) - batch.target).square() * self.weigh * batch.counts).mean()

    def steps(self, chosen: list[Step], iterations: int) -> None:
        """Learn these steps, and the biases with them; the weights are not rounded meanwhile."""
        self._set_mode("exact")
        groups = [{"params": [step.gain for step in chosen], "lr": STEP_RATE}, self._biases()]
        self._descend(groups, lambda _: self._error() / self.unit, iterations)
        self._set_mode("first")

    def rounding(self, iterations: int) -> None:
        """Learn which weights are rounded up, and the biases."""
        self._set_mode("soft")
        count = sum(layer.up.numel() for layer in self.weights)

        def loss(at: float) -> Tensor:
            error = self._error() / self.unit
            if at < WARM_UP:
                return error
            exponent = EXPONENTS[0] + (EXPONENTS[1] - EXPONENTS[0]) * (at - WARM_UP) / (1 - WARM_UP)
            return error + ROUNDING_LOSS / count * sum(layer.unsettled(exponent) for layer in self.weights)

        self._descend([{"params": [layer.up for layer in self.weights], "lr": ROUNDING_RATE}, self._biases()], loss, iterations)
        self._set_mode("hard")

    def _biases(self) -> dict[str, object]:
        return {"params": [layer.moved for layer in self.weights], "lr": BIAS_RATE}

    def _descend(self, groups: list[dict[str, object]], loss: Callable[[float], Tensor], iterations: int) -> None:
        """Adam with cosine decay; ``loss`` is given the share of the way."""
        optimiser = torch.optim.Adam([group for group in groups if group["params"]])
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
        for iteration in range(iterations):
            optimiser.zero_grad()
            loss(iteration / iterations).backward()
            optimiser.step()
            decay.step()
            self.tick()
