"""From what a simulation found to the report's data."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sim.compare import Comparison
from sim.report import Bounds, Event, LayerRow, RangeRow, ReportData, Wait
from triovit import files
from triovit.output import plain

if TYPE_CHECKING:
    from quant.artifact import Artifact

#: The report's data in a run's directory, and those that `triovit errors` leaves.
DATA, ERRORS = "report.json", "errors.json"


class Simulation(Protocol):
    """What the commands show of a simulation."""

    @property
    def config(self) -> str:
        """The configuration's name."""

    @property
    def images(self) -> int:
        """Pictures simulated."""

    @property
    def comparison(self) -> Comparison:
        """Hardware against golden model."""

    @property
    def cycles(self) -> int:
        """Clock cycles of a picture."""

    @property
    def cycles_predicted(self) -> int:
        """What the cycle model foretold."""

    @property
    def macs(self) -> int:
        """Multiplications of a picture."""

    @property
    def utilization(self) -> float:
        """Share of the multipliers busy."""

    @property
    def layers(self) -> tuple[LayerRow, ...]:
        """Every layer's cycles."""

    @property
    def waits(self) -> tuple[Wait, ...]:
        """What units waited for, during one picture."""

    @property
    def timeline(self) -> tuple[Event, ...]:
        """Which engine was busy when, during one picture."""


def report_data(artifact: "Artifact", simulation: Simulation, int_accuracy: float | None) -> ReportData:
    """The data of the report about a simulation of ``artifact``."""
    return ReportData(
        network=artifact.network["name"],
        config=simulation.config,
        images=simulation.images,
        bit_exact=simulation.comparison.equal,
        float_accuracy=artifact.float_score.get("score"),
        int_accuracy=int_accuracy,
        layers=simulation.layers,
        timeline=simulation.timeline,
        waits=simulation.waits,
        ranges=ranges(artifact),
    )


def ranges(artifact: "Artifact") -> tuple[RangeRow, ...]:
    """The channels' ranges that the artifact tells of: at the inputs of DWConvs and of the PWConvs behind them."""
    return tuple(
        RangeRow(
            name,
            Bounds(tuple(seen["low_before"]), tuple(seen["high_before"])),
            Bounds(tuple(seen["low_after"]), tuple(seen["high_after"])),
        )
        for name, seen in artifact.calibration.get("remedies", {}).items()
    )


def keep(directory: Path, data: ReportData) -> None:
    """Write the data where `triovit report` looks for them."""
    files.write_json(directory / DATA, plain(data))
