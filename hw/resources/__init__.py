"""What a configuration costs on an FPGA, and whether one holds it (docs/resources.md)."""

from hw.config import AcceleratorConfig
from hw.cost import Resources
from hw.top import Accelerator


def breakdown(config: AcceleratorConfig) -> dict[str, Resources]:
    """The multipliers and memories of each part of the accelerator, counted by its own class."""
    return Accelerator.resources(config)


def estimate(config: AcceleratorConfig) -> Resources:
    """The multipliers and memories of the whole accelerator."""
    return sum(breakdown(config).values(), Resources())


__all__ = ["Resources", "breakdown", "estimate"]
