"""Tasks: what a descriptor says, what it needs from the weight stream, and how long it takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hw.compiler.packets import Packet
from hw.config import AcceleratorConfig
from hw.control.descriptor import Act, Buffer, Opcode, Unit, pack
from hw.control.dispatch import RUNS_ON
from triovit.errors import InternalError, UserError

#: No unit, and every unit: a task that waits for all begins a new step of the program.
NONE = Unit(0)
ALL = Unit.MAT | Unit.RMAC | Unit.LOAD | Unit.STORE


def not_behind_load(tasks: "Sequence[Task]") -> list["Task"]:
    """The tasks, but up to the last one that follows LOAD pixel by pixel none waits for its end: LOAD in turn waits for them."""
    last = max((index for index, task in enumerate(tasks) if task.get("behind_load")), default=0)
    return [
        replace(task, wait=task.wait & ~Unit.LOAD) if index < last and task.opcode is not Opcode.LOAD else task
        for index, task in enumerate(tasks)
    ]


@dataclass(frozen=True)
class Task:
    """One descriptor with its packets; ``macs`` are the products of the network that it computes (padding not counted).

    ``picture`` is the one of the run's pictures that it works on; None if it works on all of them.
    """

    layer: str
    opcode: Opcode
    fields: dict[str, int | Buffer | Act]
    wait: Unit = NONE
    packets: tuple[Packet, ...] = field(default=(), repr=False)
    macs: int = 0
    picture: int | None = None

    @property
    def unit(self) -> Unit:
        """The unit that runs it."""
        return RUNS_ON.get(self.opcode, NONE)

    @property
    def joint(self) -> bool:
        """Whether both engines work on it."""
        return bool(self.fields.get("joint", 0))

    def get(self, name: str) -> int:
        """A field as a number; 0 where it is not set."""
        value = self.fields.get(name, 0)
        return value if isinstance(value, int) else value.value

    def descriptor(self) -> bytes:
        """The 64 bytes.

        Raises
        ------
        UserError
            A size that a descriptor cannot hold.
        """
        try:
            return pack({**self.fields, "opcode": self.opcode, "wait": int(self.wait)})
        except InternalError as error:
            raise UserError(f"layer {self.layer}: cannot be described to the hardware: {error}; use smaller sizes") from error

    def beats(self, config: AcceleratorConfig) -> int:
        """Beats that the engine issues when nothing stalls it: cycles of work."""
        lanes, lp = config.l, 1 << self.get("lp")
        # Where POOL writes is no part of what it reads.
        pixels = self.get("px_end") - (0 if self.opcode is Opcode.POOL else self.get("px_start"))
        tiles, depth = self.get("tiles"), self.get("depth")
        match self.opcode:
            case Opcode.PW | Opcode.QZ | Opcode.DIV:
                return -(-pixels // lp) * tiles * depth
            case Opcode.LN:
                # Of a vector alone nothing can be done while its deviation is computed.
                return (pixels + 2) * depth if pixels > 1 else 2 * depth + 1
            case Opcode.DW:
                return self.segments(config) * tiles * self.get("kernel") ** 2
            case Opcode.KTV:
                return self.get("heads") * tiles * (tiles * -(-pixels // lanes) + 1)
            case Opcode.POOL:
                return tiles * -(-pixels // lanes)
        return 0

    def segments(self, config: AcceleratorConfig) -> int:
        """Segments of a DW task (docs/architecture.md, section 3)."""
        pixels, width = self.get("px_end") - self.get("px_start"), self.get("w_out")
        if self.get("stride") == 1:
            return -(-pixels // (config.l << self.get("src_fold")))
        return pixels // width * -(-width // (config.l // 2))

    def results(self, config: AcceleratorConfig) -> int:
        """Results that each engine of the task hands to post-processing."""
        lp = 1 << self.get("lp")
        pixels, tiles = self.get("px_end") - self.get("px_start"), self.get("tiles")
        match self.opcode:
            case Opcode.PW | Opcode.QZ | Opcode.DIV:
                return -(-pixels // lp) * tiles
            case Opcode.LN:
                return pixels * self.get("depth")
            case Opcode.DW:
                groups = config.wide if self.get("src_fold") else self.get("dst_cg_end") - self.get("dst_cg")
                return self.segments(config) * groups
            case Opcode.KTV:
                return self.get("heads") * tiles * (tiles + 1)
            case Opcode.POOL:
                return tiles
        return 0
