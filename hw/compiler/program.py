"""A compiled network: its tasks, its weight stream and the memory image that the host writes."""

from dataclasses import dataclass, field
from functools import cached_property

from hw.compiler.heads import Order
from hw.compiler.packets import Packet
from hw.compiler.places import Place
from hw.compiler.tasks import Task
from hw.config import AcceleratorConfig
from hw.control.descriptor import SIZE, Opcode, pack

#: Regions of the memory image begin at multiples of this: no burst crosses it.
PAGE = 4096


def pages(size: int) -> int:
    """Bytes of whole pages that hold ``size`` bytes."""
    return -(-size // PAGE) * PAGE


@dataclass(frozen=True)
class Batch:
    """The pictures of a run.

    ``vectors`` are the layers whose results for all pictures lie side by side, a pixel a picture (pooling and what follows).
    """

    pictures: int = 1
    vectors: tuple[str, ...] = ()
    #: Beats from one picture to the next in memory, and, where nothing is pooled, from one result to the next.
    picture_beats: int = 0
    output_beats: int = 0


@dataclass(frozen=True)
class Program:
    """What runs a network on a configuration.

    ``tasks`` are in dispatch order, END not included; ``places`` tell where each layer's first result lies. Of a batch of
    pictures the first ``repeated`` packets lie in memory once and are read once a picture. ``orders`` has the layers whose
    channels are not in the network's order, and which channel is in each place (:mod:`hw.compiler.heads`).
    """

    config: AcceleratorConfig
    network: str
    tasks: tuple[Task, ...]
    places: dict[str, Place]
    output: str
    picture_bytes: int
    batch: Batch = Batch()
    repeated: int = 0
    orders: dict[str, Order] = field(default_factory=dict)

    @cached_property
    def descriptors(self) -> bytes:
        """All descriptors, END last."""
        tag = max((task.get("tag") for task in self.tasks), default=0)
        return b"".join(task.descriptor() for task in self.tasks) + pack({"opcode": Opcode.END, "tag": tag})

    @cached_property
    def weights(self) -> bytes:
        """The weight stream as it lies in memory."""
        own = self.packets[: self.repeated] + self.packets[self.repeated * self.batch.pictures :]
        return b"".join(packet.encode(self.config) for packet in own)

    @cached_property
    def packets(self) -> tuple[Packet, ...]:
        """What the rings get, in order: what is repeated, again and again."""
        return tuple(packet for task in self.tasks for packet in task.packets)

    @property
    def repeated_beats(self) -> int:
        """Beats of the stream's first part, which is read once a picture."""
        return sum(packet.beats(self.config) for packet in self.packets[: self.repeated])

    @property
    def weight_beats(self) -> int:
        """Beats of the weight stream in memory."""
        return len(self.weights) // self.config.beat_bytes

    @property
    def descriptor_count(self) -> int:
        """Descriptors, END included."""
        return len(self.descriptors) // SIZE

    @property
    def output_bytes(self) -> int:
        """Bytes that a STORE writes: the vectors of all pictures, or one picture's map."""
        place = self.places[self.output]
        return place.groups * place.rows * self.config.l * self.config.m * 2

    @property
    def addresses(self) -> dict[str, int]:
        """First byte of each region of the image: ``program``, ``weights``, ``input``, ``output``, and the ``end``.

        Pictures, and where nothing is pooled results, lie one behind the other, each at the beginning of a page.
        """
        weights = pages(len(self.descriptors))
        picture = weights + pages(len(self.weights))
        output = picture + self.batch.pictures * pages(self.picture_bytes)
        end = output + self.stores * pages(self.output_bytes)
        return {"program": 0, "weights": weights, "input": picture, "output": output, "end": end}

    @property
    def stores(self) -> int:
        """How many results a run leaves: one of all pictures, or one a picture where nothing is pooled."""
        return 1 if self.batch.vectors else self.batch.pictures

    def image(self) -> bytes:
        """Program and weights, up to the input region."""
        at = self.addresses
        return self.descriptors.ljust(at["weights"], b"\0") + self.weights.ljust(at["input"] - at["weights"], b"\0")
