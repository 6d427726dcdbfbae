"""A compiled network: its tasks, its weight stream and the memory image that the host writes."""

from dataclasses import dataclass
from functools import cached_property

from hw.compiler.places import Place
from hw.compiler.tasks import Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import SIZE, Opcode, pack

#: Regions of the memory image begin at multiples of this: no burst crosses it.
PAGE = 4096


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


@dataclass(frozen=True)
class Program:
    """What runs a network on a configuration.

    ``tasks`` are in dispatch order, END not included; ``places`` tell where each layer's first result lies.
    """

    config: AcceleratorConfig
    network: str
    tasks: tuple[Task, ...]
    places: dict[str, Place]
    output: str
    picture_bytes: int

    @cached_property
    def descriptors(self) -> bytes:
        """All descriptors, END last."""
        tag = max((task.get("tag") for task in self.tasks), default=0)
        return b"".join(task.descriptor() for task in self.tasks) + pack({"opcode": Opcode.END, "tag": tag})

    @cached_property
    def weights(self) -> bytes:
        """The weight stream."""
        return b"".join(packet.encode(self.config) for task in self.tasks for packet in task.packets)

    @property
    def weight_beats(self) -> int:
        """Beats of the weight stream."""
        return len(self.weights) // self.config.beat_bytes

    @property
    def descriptor_count(self) -> int:
        """Descriptors, END included."""
        return len(self.descriptors) // SIZE

    @property
    def output_bytes(self) -> int:
        """Bytes that STORE writes."""
        place = self.places[self.output]
        return place.groups * place.rows * self.config.l * self.config.m * 2

    @property
    def addresses(self) -> dict[str, int]:
        """First byte of each region of the image: ``program``, ``weights``, ``input``, ``output``, and the ``end``."""
        weights = _pages(len(self.descriptors))
        picture = weights + _pages(len(self.weights))
        output = picture + _pages(self.picture_bytes)
        return {"program": 0, "weights": weights, "input": picture, "output": output, "end": output + _pages(self.output_bytes)}

    def image(self) -> bytes:
        """Program and weights, up to the input region."""
        at = self.addresses
        return self.descriptors.ljust(at["weights"], b"\0") + self.weights.ljust(at["input"] - at["weights"], b"\0")
