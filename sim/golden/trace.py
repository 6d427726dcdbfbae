"""What a run computed, tensor by tensor: the form in which golden model and hardware are compared."""

from dataclasses import dataclass

from sim.golden.arithmetic import Ints

#: Tensors that an attention layer has beside its output, in the order of their computation: ``<layer>.z``, ...
SUB_TENSORS = ("z", "ksum", "code")
#: Name of the network's output as it lies in memory in the end: ``<output layer>.stored``. Only a simulation has it.
STORED = "stored"


@dataclass(frozen=True)
class Trace:
    """Integer tensors of a run over ``N`` pictures; the first axis is always the picture."""

    #: The layers in execution order, whether or not the trace keeps their tensors.
    layers: tuple[str, ...]
    #: By name: a layer's output under the layer's name, an attention's sub-tensors under ``<layer>.<sub-tensor>``,
    #: and what the host reads in the end under ``<layer>.stored``.
    tensors: dict[str, Ints]
    #: The layer whose output is the network's.
    output_name: str

    @property
    def output(self) -> Ints:
        """The network's output, ``[N, classes]`` int16 for logits."""
        return self.tensors[self.output_name]

    def of_layer(self, layer: str) -> tuple[str, ...]:
        """Names of the layer's tensors that the trace keeps, in the order of their computation."""
        names = (*(f"{layer}.{part}" for part in SUB_TENSORS), layer, f"{layer}.{STORED}")
        return tuple(name for name in names if name in self.tensors)
