"""Verilator's lint on emitted Verilog."""

import subprocess
from pathlib import Path

from hw.verilog import TOP
from sim import toolchain

#: Warnings that say nothing about the hardware. Everything else counts; latches, undriven nets and loops above all.
WAIVED = (
    # Amaranth has settled every width; in Verilog the language extends the narrower operand.
    "WIDTH",
    # Each field of a struct and each port of a submodule gets a net of its name, used or not. Nets without a driver still count.
    "UNUSEDSIGNAL",
    # A switch is a casez behind the default assignment of its targets. Were that missing, LATCH would count.
    "CASEINCOMPLETE",
    # A register has its power-up value as initial value besides its synchronous reset, as FPGAs load it.
    "PROCASSINIT",
    # A design is one file, named for its configuration.
    "DECLFILENAME",
)


def lint(source: Path, top: str = TOP) -> list[str]:
    """What Verilator has to say against the Verilog in ``source``, one line a complaint; empty for a clean design.

    Raises
    ------
    UserError
        Verilator or something that it needs is missing; the message has the line that installs it.
    """
    waived = [f"-Wno-{name}" for name in WAIVED]
    command = ["verilator", "--lint-only", "-Wall", *waived, "--top-module", top, str(source)]
    done = subprocess.run(command, env=toolchain.environment(), capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if line.startswith(("%Warning", "%Error"))]
    if done.returncode and not complaints:
        return [done.stderr.strip() or f"verilator ended with {done.returncode}"]
    return complaints
