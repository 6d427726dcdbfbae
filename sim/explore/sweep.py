"""The sweep: every point of a space, in parallel, and those of them that no other beats."""

from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from hw.config import CONFIGURATIONS
from quant.blank import blank_artifact
from quant.networks.spec import NetworkSpec
from sim.explore.parallel import run
from sim.explore.pareto import front
from sim.explore.point import Point, Refused, Setting, measured, objectives, timed
from sim.explore.sizes import fitted, machine_name, with_slots
from sim.explore.space import Machine, Slots, Space
from triovit.errors import UserError
from triovit.progress import Progress, silent

SCHEMA = "triovit-explore"


@dataclass(frozen=True)
class Exploration:
    """What a sweep found."""

    network: str
    resolution: tuple[int, int]
    setting: Setting
    space: Space
    points: tuple[Point, ...]
    refused: tuple[Refused, ...]
    #: Names of the points that fit and that no other one that fits beats: in FPS, DSPs and block RAMs; the fastest first.
    pareto: tuple[str, ...]

    def named(self, name: str) -> Point:
        """The point of that name."""
        return next(point for point in self.points if point.name == name)

    def to_dict(self) -> dict[str, Any]:
        """The document."""
        return {
            "schema": SCHEMA,
            "network": self.network,
            "resolution": self.resolution,
            "board": asdict(self.setting.board),
            "clock_mhz": self.setting.clock_mhz,
            "latency": self.setting.latency,
            "lut_share": self.setting.lut_share,
            "batch": self.setting.batch,
            "space": asdict(self.space),
            "pareto": self.pareto,
            "points": [asdict(point) for point in self.points],
            "refused": [asdict(refused) for refused in self.refused],
        }


def explore(
    network: NetworkSpec,
    setting: Setting,
    space: Space | None = None,
    *,
    jobs: int | None = None,
    backend: str = "loky",
    progress: Progress = silent,
) -> Exploration:
    """Evaluate every point of ``space`` for a network on a board.

    The result does not depend on ``jobs`` or ``backend``. Where the board has a configuration of its own name, that is a point,
    too.

    Raises
    ------
    UserError
        No point runs the network, none fits the board, or the back end cannot run.
    """
    space = space or Space()
    machines = list(space.machines())
    evaluated = run(
        partial(_evaluated, network=network, setting=setting, slots=space.slots()),
        machines,
        jobs,
        backend,
        lambda done: progress("explore", done, len(machines)),
    )
    found = [*_preset(network, setting), *(row for rows in evaluated for row in rows)]
    points = [row for row in found if isinstance(row, Point)]
    refused = [row for row in found if isinstance(row, Refused)]
    if not points:
        raise UserError(f"network {network.name}: no point of the space runs it; the first one: {refused[0].reason}")
    fitting = [point for point in points if point.fits]
    if not fitting:
        raise UserError(_too_large(network, setting, points))
    best = front(fitting, objectives, lambda point: point.resources["lut"])
    return Exploration(
        network.name,
        network.resolution,
        setting,
        space,
        tuple(points),
        tuple(refused),
        tuple(point.name for point in sorted(best, key=lambda point: -point.fps)),
    )


def _evaluated(
    machine: Machine, network: NetworkSpec, setting: Setting, slots: tuple[Slots, ...]
) -> tuple[Point, ...] | tuple[Refused]:
    """The points of one machine: its cycles are the same whatever its requantizers are made of."""
    artifact = blank_artifact(network)
    try:
        config = fitted(machine, artifact, setting.batch)
        done = timed(artifact, config, setting.latency, setting.batch)
    except UserError as error:
        return (Refused(machine_name(machine), asdict(machine), str(error)),)
    return tuple(measured(done, with_slots(config, one), setting) for one in slots)


def _preset(network: NetworkSpec, setting: Setting) -> tuple[Point | Refused, ...]:
    """The configuration that has the board's name, where there is one."""
    config = CONFIGURATIONS.get(setting.board.name)
    if config is None:
        return ()
    try:
        return (measured(timed(blank_artifact(network), config, setting.latency, setting.batch), config, setting),)
    except UserError as error:
        sizes = {axis.name: int(getattr(config, axis.name)) for axis in fields(Machine) if hasattr(config, axis.name)}
        return (Refused(config.name, sizes, str(error)),)


def _too_large(network: NetworkSpec, setting: Setting, points: list[Point]) -> str:
    """What the point that exceeds the board least takes too much of."""
    room = setting.room()
    nearest = min(points, key=lambda point: max(point.resources[name] / room[name] for name in point.over))
    taken = ", ".join(f"{nearest.resources[name]:,g} {name} of {room[name]:,g}" for name in nearest.over)
    return (
        f"board {setting.board.name}: none of {len(points)} points for {network.name} fits; the nearest, {nearest.name}, takes "
        f"{taken}; choose a larger board, a smaller network or a smaller resolution"
    )
