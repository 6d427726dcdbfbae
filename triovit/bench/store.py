"""What was measured, kept with a hash of everything it depends on, so that a bench that was stopped goes on where it was."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from triovit import files

#: The project's directory.
ROOT = Path(__file__).parents[2]
_JOBS = "triovit/bench/jobs.py"
_GOLDEN = ("quant/contract.py", "quant/artifact.py", "quant/float_weights.py", "quant/networks", "sim/golden", _JOBS)
_HARDWARE_JOBS = "triovit/bench/hardware/jobs.py"
_SIMULATOR = ("hw", "quant/contract.py", "sim/bench", _HARDWARE_JOBS)
_SCORING = ("quant/data.py", "quant/label_maps.py", "sim/scoring")
#: What a kind of measurement runs: files and packages of the project. ``evaluate`` and ``speed`` also depend on the artifact.
_SOURCES: dict[str, tuple[str, ...]] = {
    "quantize": ("quant", _JOBS),
    "evaluate": (*_GOLDEN, *_SCORING, "sim/evaluate.py"),
    "speed": _GOLDEN,
    "family": ("quant", "sim/golden", _JOBS),
    "peer": ("quant/networks", "quant/checkpoints.py", *_SCORING, "triovit/bench/peers", "requirements/peers.txt"),
    "digits": ("quant", _HARDWARE_JOBS),
    "random": ("quant", _HARDWARE_JOBS),
    "build": _SIMULATOR,
    # The cycle model has no part in what the hardware takes, so that a better one leaves long simulations as they are.
    "rtl": (
        *_SIMULATOR,
        "quant/artifact.py",
        "quant/layer.py",
        "quant/data.py",
        "sim/golden",
        "sim/simulate.py",
        "sim/observed.py",
        "sim/compare.py",
    ),
    "model": ("hw", "quant/contract.py", "quant/blank.py", "quant/networks", "sim/cycles", _HARDWARE_JOBS),
    "design": ("hw", "hw/resources", _HARDWARE_JOBS),
    "netlist": ("hw", "hw/resources", "quant/contract.py", _HARDWARE_JOBS),
}
#: Parts of these that no measurement runs but those that name them.
_UNUSED = ("quant/onnx", "quant/replay.py", "quant/train_digits.py", "hw/resources")
#: What the sources of a package are: Python, and the Verilog around the accelerator.
_SUFFIXES = (".py", ".sv", ".vlt")


class Store:
    """Results below a directory, one JSON file each, named by a measurement's key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, key: str) -> dict[str, Any] | None:
        """The result of that key; None where there is none, or none that can be read."""
        try:
            found: dict[str, Any] = json.loads(self._file(key).read_text(encoding="utf-8"))["result"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found

    def put(self, key: str, depends: dict[str, Any], result: dict[str, Any]) -> None:
        """Keep a result, whole or not at all, beside what it depends on.

        Raises
        ------
        UserError
            The file cannot be written.
        """
        files.write_json(self._file(key), {"depends": depends, "result": result})

    def _file(self, key: str) -> Path:
        return self.directory / f"{key}.json"


def key(kind: str, depends: dict[str, Any]) -> str:
    """A name for a measurement of that kind that depends on these values and on the project's sources for it."""
    content = {"kind": kind, "sources": _sources(ROOT, _SOURCES[kind]), **depends}
    return f"{kind}-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]}"


def _sources(root: Path, names: Iterable[str]) -> str:
    """Hash of these files, and of the sources below these packages, by name and content."""
    digest = hashlib.sha256()
    unused = [name for name in _UNUSED if name not in set(names)]
    for name in sorted(set(names)):
        place = root / name
        below = place.rglob("*") if place.is_dir() else [place] if place.is_file() else []
        found = sorted(path for path in below if path == place or path.suffix in _SUFFIXES)
        for path in found:
            if not any(path.is_relative_to(root / name) for name in unused):
                digest.update(f"{path.relative_to(root).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


@cache
def fingerprint(path: Path) -> str:
    """Hash of a file's content, or of the names and sizes of all files below a folder; of what is absent, a word."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.is_dir():
        return "absent"
    found = sorted((file.relative_to(path).as_posix(), file.stat().st_size) for file in path.rglob("*") if file.is_file())
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
