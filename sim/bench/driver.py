"""The host's side of a run: registers and interrupt, the same in simulation and on a board."""

from collections.abc import Mapping
from typing import Any, Protocol

#: How often STATUS is read before a start while transfers of the run before are still under way.
PATIENCE = 10_000


class BusError(Exception):
    """A register did not answer, or answered with an error, or the accelerator never became ready for a run."""


class Bus(Protocol):
    """How the host reaches the accelerator's registers."""

    def read(self, offset: int) -> int:
        """The 32-bit register at a byte offset."""
        ...

    def write(self, offset: int, value: int) -> None:
        """Set the 32-bit register at a byte offset."""
        ...

    def wait_irq(self) -> bool:
        """Wait until the interrupt is high; false if it did not come in the time that the bus allows."""
        ...


class Driver:
    """Starts runs and reports how they ended.

    Parameters
    ----------
    bus
        The registers.
    registers
        The register map as plain values (:func:`hw.control.register_map.to_dict`), so that a board needs nothing but this module
        and the compiled program's manifest.
    """

    def __init__(self, bus: Bus, registers: Mapping[str, Any]):
        self._bus = bus
        self._map = registers

    def read(self, name: str) -> int:
        """The register of that name."""
        return self._bus.read(self._map[name]["offset"])

    def write(self, name: str, value: int) -> None:
        """Set the register of that name."""
        self._bus.write(self._map[name]["offset"], value)

    def fields(self, name: str) -> dict[str, int]:
        """The fields of a register, by name."""
        word = self.read(name)
        return {field: word >> place["low"] & (1 << place["bits"]) - 1 for field, place in self._map[name]["fields"].items()}

    def set_fields(self, name: str, **values: int) -> None:
        """Write a register whose fields not named are 0."""
        fields = self._map[name]["fields"]
        self.write(name, sum(value << fields[field]["low"] for field, value in values.items()))

    def write_address(self, name: str, address: int) -> None:
        """Set the two halves of an address."""
        self.write(f"{name}_LO", address & 0xFFFF_FFFF)
        self.write(f"{name}_HI", address >> 32)

    def _counters(self) -> list[str]:
        return [name for name, register in self._map.items() if register["fields"].get("value", {}).get("access") == "read only"]

    def run(
        self, *, program: int, program_count: int, weights: int, weights_beats: int, picture: int, output: int,
        weights_repeated: int = 0, weights_passes: int = 0, watchdog: int | None = None, layer: int | None = None,
    ) -> dict[str, int]:
        """Run a program once and wait for its end.

        A run that was given up may leave transfers that the bus still owes; a start is ignored until they are over, and so
        they are waited for first.

        Parameters
        ----------
        program, weights, picture, output
            Addresses in DRAM.
        program_count, weights_beats
            Descriptors of the program and beats of the weight stream.
        weights_repeated, weights_passes
            Beats of the stream's first part, and how often it is read.
        watchdog
            Cycles without progress after which the accelerator gives up; what the register holds if None.
        layer
            Tag of the one layer whose tasks the units' counters are for, its index in the artifact; all tasks if None.

        Returns
        -------
        dict
            ``irq``, the fields of STATUS and of ERROR (``error_code``, ``error_index``), and every counter by its name in
            lower case.

        Raises
        ------
        BusError
            STATUS.busy does not fall: the memory owes the run before an answer, and only a reset helps.
        """
        if all(self.fields("STATUS")["busy"] for _ in range(PATIENCE)):
            raise BusError("the accelerator stays busy with the run before; reset it")
        places = {"PROGRAM_ADDR": program, "WEIGHTS_ADDR": weights, "INPUT_ADDR": picture, "OUTPUT_ADDR": output}
        for name, address in places.items():
            self.write_address(name, address)
        self.write("PROGRAM_COUNT", program_count)
        self.write("WEIGHTS_BEATS", weights_beats)
        self.write("WEIGHTS_REPEATED", weights_repeated)
        self.write("WEIGHTS_PASSES", weights_passes)
        self.set_fields("COUNTED_LAYER", **({} if layer is None else {"tag": layer, "only": 1}))
        if watchdog is not None:
            self.write("WATCHDOG", watchdog)
        self.set_fields("CTRL", start=1, irq_enable=1)
        report = {"irq": int(self._bus.wait_irq()), **self.fields("STATUS")}
        report |= {f"error_{name}": value for name, value in self.fields("ERROR").items()}
        report |= {name.lower(): self.read(name) for name in self._counters()}
        # Lowers the interrupt; the fields keep the run's verdict in the report.
        self.set_fields("STATUS", done=1, error=1)
        return report
