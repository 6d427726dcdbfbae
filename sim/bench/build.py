"""Compiles the accelerator's Verilog with the bench around it, once for every content."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hw.config import AcceleratorConfig
from sim import toolchain
from triovit.errors import UserError

VERILOG = Path(__file__).parent / "verilog"
#: Where built simulators are kept unless the caller says otherwise.
CACHE = Path("build/cache")
#: How hard the C++ compiler tries: against Verilator's -Os the same time to build, and about 2.5 times the speed on an array of
#: multipliers; -O2 is little faster and takes half as long again to build.
OPTIMIZE = "-O1"
#: Name of the top module and so of the executable.
TOP = "bench"


@dataclass(frozen=True)
class BuildSpec:
    """What to compile: the accelerator's Verilog and the sizes of its ports."""

    sources: tuple[Path, ...]
    beat_bytes: int
    l: int  # noqa: E741 - the paper's letter
    m: int
    address_bits: int = 40
    register_bits: int = 12
    #: Size of the DRAM, which begins at address 0.
    dram_bytes: int = 1 << 26
    #: Format of the waveforms that the simulator can record: ``fst``, ``vcd`` or none. Recording needs a build of its own.
    waves: str = ""

    def __post_init__(self) -> None:
        if self.waves not in ("", "fst", "vcd"):
            raise UserError(f"waveforms {self.waves!r} are unknown; choose fst or vcd")
        if self.dram_bytes & (self.dram_bytes - 1) or self.dram_bytes < 4096:
            raise UserError(f"the simulated DRAM has {self.dram_bytes} bytes, and must have a power of two of at least 4096")

    @classmethod
    def for_config(
        cls, config: AcceleratorConfig, sources: tuple[Path, ...], *, dram_bytes: int = 1 << 26, waves: str = ""
    ) -> "BuildSpec":
        """The build for an accelerator of this configuration."""
        return cls(sources, config.beat_bytes, config.l, config.m, config.axi_address_bits, dram_bytes=dram_bytes, waves=waves)

    def parameters(self) -> dict[str, int]:
        """Parameters of the bench."""
        return {
            "ADDRESS_BITS": self.address_bits, "REGISTER_BITS": self.register_bits, "BEAT_BYTES": self.beat_bytes,
            "L": self.l, "M": self.m, "DRAM_BYTES": self.dram_bytes,
        }

    def files(self) -> list[Path]:
        """Everything that is compiled, the control file first."""
        return [VERILOG / "bench.vlt", *self.sources, *sorted(VERILOG.glob("*.sv"))]

    def arguments(self) -> list[str]:
        """Verilator's arguments."""
        # Warnings do not stop the build (Amaranth's output is full of width ones); they stay in the log.
        arguments = ["--no-public-flat-rw", "--timing", "-Wno-fatal", "-Wno-WIDTH", "-CFLAGS", "-std=c++20"]
        # Statements are not moved to join conditions: the search takes the square of a process' length, 7 of 9 minutes at zcu102.
        arguments.append("-fno-merge-cond-motion")
        return arguments + {"": [], "vcd": [], "fst": ["--trace-fst"]}[self.waves]

    def key(self) -> str:
        """Hash of everything that the executable depends on."""
        described = {
            "optimize": OPTIMIZE,
            "files": [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.files()],
            "arguments": self.arguments(), "parameters": self.parameters(), "waves": self.waves, "versions": toolchain.versions(),
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Built:
    """A simulator that can be run."""

    directory: Path
    #: Whether it was there already.
    reused: bool

    @property
    def log(self) -> Path:
        """What Verilator and the compiler said."""
        return self.directory / "build.log"


def build(spec: BuildSpec, cache: Path = CACHE) -> Built:
    """Compile, or find what was compiled before.

    Raises
    ------
    UserError
        A tool or a source is missing, or Verilator or the compiler failed; the message has its first error and the log's path.
    """
    for source in spec.sources:
        if not source.is_file():
            raise UserError(f"{source}: no such Verilog file; run `triovit generate` first")
    with tool_environment():
        home = cache.resolve() / spec.key()
        if (home / TOP).is_file():
            return Built(home, True)
        cache.mkdir(parents=True, exist_ok=True)
        # Built beside its place and renamed: a second process never sees half a simulator.
        work = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=cache.resolve()))
        try:
            _compile(spec, work, cache.resolve() / f"failed-{home.name}.log")
            _keep(work, home)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return Built(home, False)


def _compile(spec: BuildSpec, work: Path, failed_log: Path) -> None:
    from cocotb_tools.runner import get_runner

    log = work / "build.log"
    os.environ["MAKEFLAGS"] = f"{os.environ.get('MAKEFLAGS', '')} OPT_FAST={OPTIMIZE}".strip()
    runner = get_runner("verilator")
    # What it has to say is in the log file.
    runner.log.disabled = True
    try:
        runner.build(
            sources=spec.files(), hdl_toplevel=TOP, parameters=spec.parameters(), build_args=spec.arguments(),
            build_dir=work / "obj", waves=bool(spec.waves), log_file=log, timescale=("1ns", "1ps"),
        )
    except (RuntimeError, OSError, SystemExit) as error:
        raise tool_failure("building the simulator", log, failed_log) from error
    (work / "obj" / TOP).rename(work / TOP)
    shutil.rmtree(work / "obj")


def _keep(work: Path, home: Path) -> None:
    try:
        work.rename(home)
    except OSError:
        # Another process was faster; its simulator is the same.
        if not (home / TOP).is_file():
            raise


def tool_failure(doing: str, log: Path, kept: Path | None = None) -> UserError:
    """The error for an external tool that failed: its first complaint, and where the rest is."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    if kept and text:
        shutil.copyfile(log, kept)
    marks = ("%Error", "error:", "Error", "*** ", "fatal")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for mark in marks for line in lines if mark in line), lines[-1] if lines else "it left no log")
    return UserError(f"{doing} failed: {first} (log: {kept or log})")


@contextmanager
def tool_environment() -> Iterator[None]:
    """The simulator's tools on PATH; cocotb's runner takes its environment from this process."""
    before = dict(os.environ)
    os.environ.update(toolchain.environment())
    # Would switch on what the build does not have.
    for name in ("WAVES", "GUI"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
