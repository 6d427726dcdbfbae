"""A whole configuration as Yosys maps it: lookup tables, flip-flops, carry chains, DSPs and block RAMs, part by part."""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from amaranth.back import rtlil

from hw.config import AcceleratorConfig
from hw.cost import Resources
from hw.resources import packing, synthesis
from hw.resources.hierarchy import Hierarchy, Unit
from hw.top import Accelerator
from triovit import files
from triovit.errors import UserError

#: Where synthesized units are kept.
CACHE = Path("build") / "yosys"
#: The flow of ``synth_xilinx`` for a module with neither pads nor a clock of its own, with ``abc`` in place of ``abc9``, which
#: looks for short paths at the price of more lookup tables, and fails on wide rotators. Every lookup table costs the same:
#: with Yosys' own weights (``-luts 2:2,3,6:5``), which favour small ones, two may take the place of one of six inputs.
RECIPE = "; ".join([
    "synth_xilinx -family xcup -flatten -noiopad -noclkbuf -top top -run begin:map_luts",
    "opt_expr -mux_undef -noclkinv",
    "abc -lut 6",
    "clean",
    "xilinx_srl -fixed -minlen 3",
    "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6",
    "xilinx_dffopt",
    "opt_lut_ins -tech xilinx",
    "clean",
])
#: Lookup tables of a shift register, and multiplexers behind lookup tables, which take none.
_SHIFT_REGISTERS = ("SRL16E", "SRLC32E")
_FREE = ("MUXF7", "MUXF8", "MUXF9", "BUFG", "VCC", "GND", "$scopeinfo")
#: Parts by the first levels of a module's name, the longest that fits.
PARTS = {
    "top": "top",
    "top.arbiter": "read arbiter",
    "top.control": "control unit, program fetch",
    "top.decoder": "stream decoder",
    "top.loader": "loader",
    "top.store": "store",
    "top.weights": "weight prefetch",
    "top.core": "between the parts",
    "top.core.mat": "MAT engine",
    "top.core.rmac": "R-MAC engine",
    "top.core.post": "post-processing",
    "top.core.mat_weight_ring": "weight rings",
    "top.core.rmac_weight_ring": "weight rings",
    "top.core.param_ring": "parameter rings",
    "top.core.z_buffer": "Z buffer",
    "top.core.placement": "placement",
    "top.core.load_aligner": "placement",
    "top.core.mat_reader": "readers of X, Y and D",
    "top.core.residual_reader": "readers of X, Y and D",
    "top.core.shared_reads": "readers of X, Y and D",
    "top.core.x_buffer": "X buffer",
    "top.core.y_buffer": "Y buffer",
    "top.core.d_buffer": "D buffer",
    "top.core.h_buffer": "H buffer",
    "top.core.o_buffer": "O buffer",
}


@dataclass(frozen=True)
class Cells:
    """What was mapped.

    ``lut`` are all lookup tables: ``logic``, ``memory`` and ``shift`` registers. Yosys gives every function one of its own, of
    which a LUT6 holds two if they are small: ``paired`` of them go into another one's (`hw.resources.packing`), and ``sites`` is
    what remains. ``small`` is how many Yosys itself would take away for its estimate of logic cells (``stat -tech xilinx``), and
    ``logic_cells`` that estimate: it goes by numbers of inputs alone, and has two bits of carry chains in one place.
    """

    logic: int = 0
    memory: int = 0
    shift: int = 0
    ff: int = 0
    carry4: int = 0
    dsp: int = 0
    bram18: int = 0
    paired: int = 0
    small: int = 0

    @property
    def logic_cells(self) -> int:
        """Yosys' own estimate, too low where there are carry chains."""
        return self.lut - self.small

    @property
    def sites(self) -> int:
        """Places of lookup tables where small ones share one."""
        return self.lut - self.paired

    @property
    def lut(self) -> int:
        """All lookup tables."""
        return self.logic + self.memory + self.shift

    @property
    def bram36(self) -> float:
        """36-Kbit block RAMs; a half is an 18-Kbit one."""
        return self.bram18 / 2

    def __add__(self, other: "Cells") -> "Cells":
        return Cells(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __mul__(self, count: int) -> "Cells":
        return Cells(*(getattr(self, field.name) * count for field in fields(self)))


@dataclass(frozen=True)
class Row:
    """A distinct unit and how often each part has it."""

    name: str
    parts: Counter[str]
    cells: Cells


def counted(found: Counter[str], paired: int = 0) -> Cells:
    """The cells of a netlist by kind, of which ``paired`` functions share another one's lookup table.

    Raises
    ------
    ValueError
        A cell of no known kind: nothing is left out silently.
    """
    memories: Resources = synthesis.resources(found)
    logic = shift = ff = 0
    for cell, count in found.items():
        if cell.startswith("LUT") or cell == "INV":
            logic += count
        elif cell in _SHIFT_REGISTERS:
            shift += count
        elif cell.startswith("FD"):
            ff += count
        elif not (cell == "CARRY4" or cell in _FREE or cell.startswith(("DSP48", "RAM"))):
            raise ValueError(f"{count} cells {cell!r} are of no known kind")
    return Cells(logic, memories.lutram, shift, ff, found["CARRY4"], memories.dsp, memories.bram18, paired, _small(found))


def _small(found: Counter[str]) -> int:
    """Functions that Yosys counts with another one: one input with up to five, two with up to four, then any two of these."""
    free = {inputs: found[f"LUT{inputs}"] for inputs in range(1, 6)}
    free[1] += found["INV"]
    small = 0
    for larger, smaller in ((5, 1), (4, 1), (4, 2), (3, 1), (3, 2)):
        both = min(free[larger], free[smaller])
        free[larger] -= both
        free[smaller] -= both
        small += both
    return small + (free[2] + free[1]) // 2


def synthesized(unit: Unit) -> Cells:
    """What becomes of a unit, from the cache where it was synthesized before; the units in it are left out.

    Raises
    ------
    UserError
        Yosys is missing or failed.
    """
    content = json.dumps([synthesis.version(), RECIPE, unit.text]).encode()
    kept = CACHE / f"{hashlib.sha256(content).hexdigest()[:24]}.blif.gz"
    if not kept.exists():
        text = synthesis.mapped(unit.text, RECIPE)
        files.write_bytes(kept, gzip.compress(text.encode(), mtime=0))
    mapped = synthesis.cells_of(gzip.decompress(kept.read_bytes()).decode())
    paired = len(packing.pairs(packing.functions(mapped)))
    cells = Counter(cell.kind for cell in mapped)
    boxes = {name.removeprefix("\\"): count for name, count in unit.boxes}
    missing = {name for name, count in boxes.items() if cells[name] != count}
    if missing:
        raise UserError(f"Yosys left out {', '.join(sorted(missing))} in {unit.name}")
    return counted(Counter({name: count for name, count in cells.items() if name not in boxes}), paired)


def measure(config: AcceleratorConfig, told: Callable[[str], None] = lambda line: None) -> list[Row]:
    """Every distinct unit of the accelerator, synthesized by itself.

    A module of up to `hw.resources.hierarchy.FLAT_TEXT` characters, with all in it, is flattened into a unit; what is longer has
    the modules in it as black boxes. So nothing is optimized across a unit's ports.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.
    told : callable
        Is given a line for each unit.

    Raises
    ------
    UserError
        Yosys is missing or failed.
    """
    hierarchy = Hierarchy(rtlil.convert(Accelerator(config), name="top", emit_src=False))
    rows = []
    for unit, names in hierarchy.units():
        parts = Counter(part(name) for name in names)
        cells = synthesized(unit)
        rows.append(Row(names[0], parts, cells))
        told(f"{len(names):4} x {names[0]}: {cells.lut} LUT, {cells.ff} FF")
    return rows


def by_part(rows: list[Row]) -> dict[str, Cells]:
    """The sums of the parts."""
    found = {name: Cells() for name in dict.fromkeys(PARTS.values())}
    for row in rows:
        for name, count in row.parts.items():
            found[name] += row.cells * count
    return found


def part(module: str) -> str:
    """The part that a module is of."""
    name = module.removeprefix("\\")
    while name not in PARTS:
        name = name.rpartition(".")[0]
    return PARTS[name]
