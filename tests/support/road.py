"""The built-in network on the emitted Verilog, made once a process; and runs on the bench below ``simulate``."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sim.simulate
from hw import verilog
from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.config import TOY
from hw.control import register_map
from quant.artifact import Artifact
from quant.checkpoints import load
from quant.data import digits
from quant.quantize import quantize
from sim import toolchain
from sim.bench.build import CACHE, BuildSpec, build
from sim.bench.runner import Job, RunResult
from sim.bench.runner import simulate as run_bench
from sim.observed import stored

#: For modules whose tests compile the accelerator.
needs_simulator = pytest.mark.skipif(
    any(check.tool == "C++ compiler" for check in toolchain.missing_for_simulation()),
    reason="the simulator is compiled, and there is no C++ compiler",
)


@cache
def digits_artifact() -> Artifact:
    """The built-in network; treat it as constant."""
    return quantize(load("digits"), digits().train[:32])


def held_out(count: int, first: int = 0) -> NDArray[np.uint8]:
    """Real digits that the network was not trained with."""
    return digits().held_out[first : first + count]


@contextmanager
def _alone() -> Iterator[None]:
    """Tests on two cores build nothing twice: the second one waits and finds what the first one built."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def toy() -> BuildSpec:
    """The toy's simulator, built."""
    with _alone():
        spec = BuildSpec.for_config(TOY, (verilog.emit(TOY),))
        build(spec)
    return spec


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[RunResult]:
    """What the bench returns to ``simulate`` from now on."""
    results: list[RunResult] = []

    def run(*words: Any, **named: Any) -> RunResult:
        results.append(run_bench(*words, **named))
        return results[-1]

    monkeypatch.setattr(sim.simulate, "run_bench", run)
    return results


@dataclass(frozen=True)
class Copy:
    """A network in DRAM: the arguments of a run, and where its result goes."""

    arguments: dict[str, int]

    def changed(self, **changes: int) -> "Copy":
        """The same with other arguments."""
        return replace(self, arguments=self.arguments | changes)

    @property
    def output(self) -> int:
        """Address of the result."""
        return self.arguments["output"]


class Dram:
    """A memory image with a program in several copies, whole or spoilt."""

    def __init__(self, artifact: Artifact, picture: NDArray[np.uint8]):
        self.artifact = artifact
        self.program: Program = compile_network(artifact, TOY)
        self.picture = picture
        self.image = bytearray()

    def add(self, descriptors: bytes | None = None, weights: bytes | None = None) -> Copy:
        """Program, weights, picture and place for the result behind what is there."""
        at, first = self.program.addresses, len(self.image)
        region = bytearray(at["end"])
        for name, data in (
            ("program", descriptors or self.program.descriptors),
            ("weights", weights or self.program.weights),
            ("input", self.picture.transpose(1, 2, 0).tobytes()),
        ):
            region[at[name] : at[name] + len(data)] = data
        self.image += region
        return Copy(
            {
                "program": first + at["program"],
                "program_count": self.program.descriptor_count,
                "weights": first + at["weights"],
                "weights_beats": self.program.weight_beats,
                "picture": first + at["input"],
                "output": first + at["output"],
                "watchdog": 1 << 20,
            }
        )

    def run(self, *copies: Copy, **settings: Any) -> RunResult:
        """One job with a run for each copy; its output is the whole memory."""
        size = -(-len(self.image) // TOY.beat_bytes) * TOY.beat_bytes
        job = Job(
            memory=bytes(self.image),
            runs=tuple(copy.arguments for copy in copies),
            registers=register_map.to_dict(TOY),
            output_bytes=size,
            **settings,
        )
        return run_bench(toy(), job)

    def result(self, run: RunResult, copy: Copy) -> NDArray[np.int64]:
        """What a run wrote."""
        return stored(run.output[copy.output :], self.program, self.artifact)
