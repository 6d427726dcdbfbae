"""When a result passes which step of post-processing."""

from dataclasses import dataclass

from hw.units.divisor_buffer import DivisorBuffer
from hw.units.joined_sums import JoinedSums
from hw.units.requantizer import Requantizer
from hw.units.second_step import SecondStep


@dataclass(frozen=True)
class Schedule:
    """When a result passes which step, in cycles after it was taken.

    Everything that a step needs starts early enough to arrive with the values; the rest waits in delay lines.
    """

    buffer_read_latency: int
    param_latency: int

    @property
    def lookup(self) -> int:
        """Parameters and divisor codes are asked for."""
        return 1

    @property
    def joined(self) -> int:
        """Sums are those of one engine, and sums of parts have been joined."""
        return JoinedSums.latency

    @property
    def first_step(self) -> int:
        """Accumulators enter the requantizers, divisors the logarithm."""
        return max(self.joined, self.lookup + max(self.param_latency + 1, DivisorBuffer.latency))

    @property
    def first_step_done(self) -> int:
        """``t`` leaves the requantizers."""
        return self.first_step + Requantizer.latency

    @property
    def second_step(self) -> int:
        """``t`` and the residual enter the second step."""
        return max(self.first_step_done, self.lookup + self.buffer_read_latency)

    @property
    def residual(self) -> int:
        """The residual is asked for."""
        return self.second_step - self.buffer_read_latency

    @property
    def write(self) -> int:
        """The result is written."""
        return self.second_step + SecondStep.latency
