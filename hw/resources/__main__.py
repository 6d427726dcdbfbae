"""``python -m hw.resources [CONFIGURATION] [--yosys]``: what each part costs, as a table."""

import sys

from hw.config import configuration
from hw.resources import breakdown, estimate, netlist
from triovit.errors import UserError


def main(name: str = "zcu102", *, yosys: bool = False) -> None:
    """Print the table of a configuration: as its classes count, or as Yosys maps it."""
    config = configuration(name)
    if yosys:
        rows = netlist.measure(config, lambda line: print(line, file=sys.stderr, flush=True))
        parts = netlist.by_part(rows)
        for part, cells in {**parts, "total": sum(parts.values(), netlist.Cells())}.items():
            luts = f"{cells.lut:7} LUT ({cells.memory:6} as memory, {cells.shift:6} as shift registers)"
            shared = f"{cells.sites:7} sites {cells.logic_cells:7} by Yosys' estimate"
            others = f"{cells.ff:7} FF {cells.carry4:6} CARRY4 {cells.dsp:5} DSP {cells.bram36:7.1f} BRAM36"
            print(f"{part:28} {luts} {shared} {others}")
        return
    for part, cost in {**breakdown(config), "total": estimate(config)}.items():
        luts = f"{cost.lutram:6} LUT as memory {cost.lutmul:6} LUT as multipliers"
        print(f"{part:16} {cost.dsp:5} DSP {cost.bram36:7.1f} BRAM36 {luts}")


if __name__ == "__main__":
    try:
        main(*[word for word in sys.argv[1:] if word != "--yosys"][:1], yosys="--yosys" in sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
