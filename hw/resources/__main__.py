"""``python -m hw.resources [CONFIGURATION]``: what each part costs, as a table."""

import sys

from hw.config import configuration
from hw.resources import breakdown, estimate
from triovit.errors import UserError


def main(name: str = "zcu102") -> None:
    """Print the table of a configuration."""
    config = configuration(name)
    for part, cost in {**breakdown(config), "total": estimate(config)}.items():
        luts = f"{cost.lutram:6} LUT as memory {cost.lutmul:6} LUT as multipliers"
        print(f"{part:16} {cost.dsp:5} DSP {cost.bram36:7.1f} BRAM36 {luts}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except UserError as error:
        sys.exit(f"error: {error}")
