"""One point of a sweep: what a configuration does with a network, what it costs, and whether a board holds it."""

from collections.abc import Mapping
from dataclasses import dataclass

from boards import Board
from hw.compiler.compile import compile_network
from hw.config import AcceleratorConfig
from hw.resources import estimate
from hw.top import WEIGHT_BURSTS
from quant.artifact import Artifact
from sim.cycles.bus import ARBITER, ARRIVE
from sim.cycles.model import Memory, predict
from sim.explore.bounds import bounds, hit
from triovit.errors import UserError


@dataclass(frozen=True)
class Setting:
    """What a point is measured against."""

    board: Board
    clock_mhz: float = 200.0
    #: Cycles from a request to the memory to its first beat.
    latency: int = 60
    #: Share of the board's lookup tables that those counted may take; the rest is for the gates that nobody counts.
    lut_share: float = 0.4
    #: Pictures of a run.
    batch: int = 1

    def room(self) -> dict[str, float]:
        """What a point may take of each resource."""
        board = self.board
        return {
            "dsp": board.dsps,
            "bram36": board.bram36,
            "lut": self.lut_share * board.luts,
            "memory_lut": board.memory_luts,
            "port_bytes": board.port_bytes,
            "dram_bytes": board.dram_bytes / (self.clock_mhz * 1e6),
        }


@dataclass(frozen=True)
class Point:
    """A configuration that runs the network."""

    name: str
    #: All fields of the `AcceleratorConfig`.
    configuration: Mapping[str, int | str]
    multipliers: int
    #: Products of a run.
    macs: int
    #: Of a run, as predicted, and its pictures.
    cycles: int
    pictures: int
    fps: float
    #: Two operations a product.
    gops: float
    #: The network's products, of those that all multipliers could do in that time.
    utilization: float
    #: What of the board it takes, in the units of `Setting.room`.
    resources: Mapping[str, float]
    #: The same as shares of the board.
    shares: Mapping[str, float]
    #: Cycles of a run by bound (`sim.explore.bounds`), and the bound with most of them.
    bounds: Mapping[str, int]
    bound: str
    #: The resources that exceed the board's room for them.
    over: tuple[str, ...]
    fits: bool


@dataclass(frozen=True)
class Refused:
    """Sizes that the architecture, the compiler or the model does not take, and why."""

    name: str
    sizes: Mapping[str, int]
    reason: str


@dataclass(frozen=True)
class Timed:
    """What does not depend on what the requantizers are made of."""

    cycles: int
    macs: int
    bounds: dict[str, int]


def timed(artifact: Artifact, config: AcceleratorConfig, latency: int, batch: int = 1) -> Timed:
    """Compile for runs of ``batch`` pictures and predict one.

    Raises
    ------
    UserError
        The network cannot be mapped on the configuration, or the cycle model does not hold for it.
    """
    require_covered(config, latency)
    program = compile_network(artifact, config, batch)
    program.descriptors  # noqa: B018 - a size that a descriptor cannot hold is found here
    prediction = predict(program, Memory(latency))
    return Timed(prediction.cycles, prediction.macs, bounds(prediction, config))


def require_covered(config: AcceleratorConfig, latency: int) -> None:
    """Refuse a prefetch too short for the memory's latency: the cycle model has weights arrive at a beat a cycle."""
    depth, needed = WEIGHT_BURSTS * config.axi_burst, latency + ARBITER + ARRIVE + config.axi_burst
    if depth < needed:
        raise UserError(
            f"configuration {config.name}: axi_burst is {config.axi_burst}, and a prefetch of {depth} beats does not cover a "
            f"memory latency of {latency} cycles, which takes {needed}; choose longer bursts"
        )


def measured(done: Timed, config: AcceleratorConfig, setting: Setting) -> Point:
    """The point of a configuration whose cycles are known."""
    cost, board = estimate(config), setting.board
    runs = setting.clock_mhz * 1e6 / done.cycles
    resources = {
        "dsp": cost.dsp,
        "bram36": cost.bram36,
        "lut": cost.lutram + cost.lutmul,
        "memory_lut": cost.lutram,
        "port_bytes": config.beat_bytes,
        "dram_bytes": config.beat_bytes,
    }
    room = setting.room()
    whole = {**room, "lut": board.luts}
    over = tuple(name for name, taken in resources.items() if taken > room[name])
    return Point(
        name=config.name,
        configuration=config.to_dict(),
        multipliers=config.multipliers,
        macs=done.macs,
        cycles=done.cycles,
        pictures=setting.batch,
        fps=setting.batch * runs,
        gops=2e-9 * done.macs * runs,
        utilization=done.macs / (done.cycles * config.multipliers),
        resources=resources,
        shares={name: taken / whole[name] for name, taken in resources.items()},
        bounds=done.bounds,
        bound=hit(done.bounds),
        over=over,
        fits=not over,
    )


def objectives(point: Point) -> tuple[float, float, float]:
    """What is to be small: DSPs, block RAMs, and the time for a picture."""
    return point.resources["dsp"], point.resources["bram36"], -point.fps
