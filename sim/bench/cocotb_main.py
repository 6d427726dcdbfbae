"""The one test that runs inside the simulator: a driver over the bench's registers, and what it reported."""

import json
import os
from pathlib import Path
from typing import Any

import cocotb
from cocotb.task import bridge, resume
from cocotb.triggers import RisingEdge, ValueChange

from sim.bench.driver import BusError, Driver

#: Environment variable that names the job's file.
JOB = "TRIOVIT_JOB"
RESULT = "result.json"


class BenchBus:
    """Registers and interrupt of the simulated accelerator.

    One access is one toggle of ``host_go``: the AXI4-Lite transfer itself runs in Verilog (``verilog/host.sv``), and so Python
    is called twice an access and never in between.
    """

    def __init__(self, bench: Any):
        self._bench = bench
        self._go = 0

    async def _access(self, offset: int, value: int | None) -> int:
        bench = self._bench
        bench.host_address.value = offset
        bench.host_data.value = value or 0
        bench.host_write.value = value is not None
        self._go ^= 1
        bench.host_go.value = self._go
        await ValueChange(bench.host_done)
        if int(bench.host_expired.value):
            raise BusError(f"register {offset:#x} does not answer")
        if response := int(bench.host_response.value):
            raise BusError(f"register {offset:#x} answers with AXI error {response}")
        return int(bench.host_result.value)

    async def _wait(self) -> bool:
        bench = self._bench
        bench.waiting.value = 1
        await RisingEdge(bench.wake)
        finished = int(bench.stopped.value) == 0
        bench.waiting.value = 0
        return finished

    def read(self, offset: int) -> int:
        """The register at ``offset``."""
        return resume(self._access)(offset, None)

    def write(self, offset: int, value: int) -> None:
        """Set the register at ``offset``."""
        resume(self._access)(offset, value)

    def wait_irq(self) -> bool:
        """Wait for the interrupt; false if the bench's watchdog rang instead."""
        return resume(self._wait)()


def _drive(driver: Driver, runs: list[dict[str, int]]) -> dict[str, Any]:
    reports: list[dict[str, int]] = []
    for arguments in runs:
        try:
            reports.append(driver.run(**arguments))
        except BusError as error:
            return {"reports": reports, "bus_error": str(error)}
        if not reports[-1]["irq"]:
            break
    return {"reports": reports, "bus_error": ""}


@cocotb.test()
async def job(bench: Any) -> None:
    """Run the job that the environment names."""
    settings = json.loads(Path(os.environ[JOB]).read_text())
    await RisingEdge(bench.ready)
    result = await bridge(_drive)(Driver(BenchBus(bench), settings["registers"]), settings["runs"])
    Path(RESULT).write_text(json.dumps(result))
