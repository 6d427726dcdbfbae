"""Results of the accelerator's bench, made up."""

from typing import Any

from triovit.bench.hardware.plan import NETWORKS
from triovit.bench.hardware.summary import cases, summarise
from triovit.bench.runner import Result

REFUSED = {"error": "layer stem.0: is too large; use a smaller one"}
STALLS = {
    "mat_stalled_weights": 1000,
    "mat_stalled_results": 0,
    "mat_stalled_pixels": 2400,
    "rmac_stalled_weights": 0,
    "rmac_stalled_results": 0,
    "load_stalled_memory": 60,
    "weights_stalled_memory": 140,
}
BUILT = {
    "verilog_seconds": 200.0,
    "verilog_cached": False,
    "verilog_bytes": 25_000_000,
    "build_seconds": 300.5,
    "build_cached": False,
    "peak_bytes": 1,
}


def model(single: int, steady: float, macs: int = 519_214_592) -> Result:
    """A network that can be mapped on the paper's array."""
    return {
        "macs": macs,
        "ideal": macs / 2048,
        "cycles_single": single,
        "backbone": single - 50_000,
        "weight_beats": 160_000,
        "batch": 16,
        "cycles_steady": steady,
    }


def run(cycles: int, images: int, seconds: float, **changes: Any) -> Result:
    """A run of B1 in RTL."""
    return {
        "images": images,
        "bit_exact": True,
        "layers_compared": 72,
        "values_compared": 1_000 * images,
        "mismatches": 0,
        "first_difference": None,
        "cycles": cycles,
        "macs": 519_214_592 * images,
        "utilization": 519_214_592 * images / 2048 / cycles,
        "stalls": STALLS,
        "sim_seconds": seconds,
        "build": BUILT,
        **changes,
    }


DESIGN = {
    "multipliers": 2048,
    "array_dsp": 1024,
    "dsp": 1100,
    "bram36": 700.5,
    "memory_lut": 30_000,
    "multiplier_lut": 60_000,
    "parts": {"MAT engine": {"dsp": 532, "bram36": 0.0, "memory_lut": 2016, "multiplier_lut": 3152}},
}
NETLIST = {"lut": 150_000, "sites": 120_000, "ff": 250_000, "parts": {}}
#: B1 simulated, and one network after the other refused.
FOUND: dict[str, Result] = {
    "design/zcu102": DESIGN,
    "netlist/zcu102": NETLIST,
    **{f"model/{network.name}": REFUSED for network in NETWORKS},
    "model/b1-224": model(320_000, 266_000.0),
    "rtl/b1-224/single": run(321_600, 1, 61.4),
    "rtl/b1-224/steady": run(16 * 266_500, 16, 900.0),
    "rtl/seg-b0-512x384/single": REFUSED,
}


def summary(**changes: Result) -> Result:
    """The summary of `FOUND` with some results changed; a name's slashes are two underscores, its hyphens one."""
    named = {case.name.replace("/", "__").replace("-", "_"): case.name for case in cases()}
    found = FOUND | {named[name]: result for name, result in changes.items()}
    return summarise([(case, found.get(case.name, {"missing": "not measured"})) for case in cases()])
