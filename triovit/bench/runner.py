"""Takes measurements that the store does not have yet, each in a process of its own."""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from triovit.bench.store import ROOT, Store, fingerprint, key
from triovit.errors import UserError

Result = dict[str, Any]

#: The environment of the other quantizers, and what `make peers` said when `make bench-quant` called it.
PEERS = ROOT / ".venv-peers"
PEERS_LOG = "peers.log"


class Runner:
    """Gives the results of measurements.

    A result is what a function of `triovit.bench.jobs` returns, ``{"error": one line}`` where the quantizer refuses, or
    ``{"missing": why}`` where nothing was measured.

    Parameters
    ----------
    directory
        Where results and artifacts are kept.
    shared
        Has models/ and data/.
    measuring
        False gives what is kept and measures nothing.
    """

    def __init__(self, directory: Path, shared: Path, *, measuring: bool) -> None:
        self.directory, self.shared, self.measuring = directory, shared, measuring
        self._store = Store(directory / "measured")
        #: Keys of what was asked for and is not kept; with ``measuring`` of what failed.
        self.missing: set[str] = set()

    def looking(self) -> Self:
        """A runner of the same place that measures nothing."""
        return type(self)(self.directory, self.shared, measuring=False)

    def quantize(self, checkpoint: str, calibration: str, count: int, resolution: tuple[int, int], settings: Result) -> Result:
        """`triovit.bench.jobs.quantize`; of a success also ``artifact``, the directory."""
        source, folder = self.shared / checkpoint, self.shared / calibration
        depends = {
            "checkpoint": fingerprint(source),
            "calibration": fingerprint(folder),
            "count": count,
            "resolution": resolution,
            "settings": settings,
            "versions": versions("torch", "numpy", "pillow"),
        }
        name = key("quantize", depends)
        place = self.directory / "artifacts" / name
        arguments = {
            "checkpoint": str(source),
            "calibration": str(folder),
            "count": count,
            "resolution": resolution,
            "settings": settings,
            "artifact": str(place),
            "state": str(self.directory / "unfinished" / name),
        }
        found = self._job("quantize", depends, arguments, there=place)
        return found if "sha256" not in found else {**found, "artifact": str(place)}

    def evaluate(self, quantized: Result, data: str, labels: str | None) -> Result:
        """`triovit.bench.jobs.evaluate` of what `quantize` gave; its own result where that is no artifact."""
        if "artifact" not in quantized:
            return quantized
        pictures, maps = self.shared / data, None if labels is None else self.shared / labels
        depends = {
            "artifact": quantized["sha256"],
            "data": fingerprint(pictures),
            "labels": None if maps is None else fingerprint(maps),
            "versions": versions("torch", "numpy", "pillow"),
        }
        return self._job(
            "evaluate",
            depends,
            {"artifact": quantized["artifact"], "data": str(pictures), "labels": None if maps is None else str(maps)},
        )

    def speed(self, quantized: Result, data: str, count: int) -> Result:
        """`triovit.bench.jobs.speed` of what `quantize` gave; its own result where that is no artifact."""
        if "artifact" not in quantized:
            return quantized
        pictures = self.shared / data
        depends = {
            "artifact": quantized["sha256"],
            "data": fingerprint(pictures),
            "count": count,
            "versions": versions("torch", "numpy"),
        }
        return self._job("speed", depends, {"artifact": quantized["artifact"], "data": str(pictures), "count": count})

    def family(self, name: str, resolution: tuple[int, int], calibration: str) -> Result:
        """`triovit.bench.jobs.family`."""
        return self._family(name, resolution, calibration, artifact=False)

    def _family(self, name: str, resolution: tuple[int, int], calibration: str, *, artifact: bool) -> Result:
        """`triovit.bench.jobs.family`; with ``artifact`` its directory is needed, too, and is part of a success."""
        folder = self.shared / calibration
        depends = {
            "name": name,
            "resolution": resolution,
            "calibration": fingerprint(folder),
            "versions": versions("torch", "numpy"),
        }
        place = self.directory / "artifacts" / key("family", depends)
        arguments = {"name": name, "resolution": resolution, "calibration": str(folder), "artifact": str(place)}
        if not artifact:
            return self._job("family", depends, arguments)
        found = self._job("family", depends, arguments, there=place)
        return found if "sqnr" not in found else {**found, "artifact": str(place)}

    def peer(self, tool: str, network: str, resolution: tuple[int, int], inputs: tuple[str, ...]) -> Result:
        """Another quantizer's document (`triovit.bench.peers`); ``inputs`` is the checkpoint and the folders that it reads."""
        python = PEERS / "bin" / "python"
        if not (PEERS / "stamp").is_file():
            return {"missing": _last_line(self.directory / PEERS_LOG) or "`make peers` has not been run"}
        height, width = resolution
        depends = {
            "tool": tool,
            "network": network,
            "resolution": resolution,
            "inputs": [fingerprint(self.shared / name) for name in inputs],
            "versions": versions("torch", "numpy", "pillow"),
        }
        words = ["-m", "triovit.bench.peers", "--tool", tool, "--network", network, "--size", f"{width}x{height}"]
        return self._taken("peer", depends, [str(python), *words, "--shared", str(self.shared), "--json"])

    def _job(
        self,
        kind: str,
        depends: Result,
        arguments: Result,
        *,
        there: Path | None = None,
        module: str = "triovit.bench.jobs",
        refusable: bool = True,
    ) -> Result:
        words = [sys.executable, "-m", module, kind, json.dumps(arguments)]
        return self._taken(kind, depends, words, there, refusable=refusable)

    def _taken(
        self, kind: str, depends: Result, words: list[str], there: Path | None = None, *, refusable: bool = True
    ) -> Result:
        """What is kept, else what the process of these words and a file's name writes there.

        ``there`` is what must be there besides for a success to count as kept. Where nothing is ``refusable`` an error is a
        failure, such as a tool that is missing, and not an outcome to keep.
        """
        name = key(kind, depends)
        kept = self._store.get(name)
        if kept is not None and ("error" in kept or there is None or there.is_dir()):
            return kept
        self.missing.add(name)
        if not self.measuring:
            return {"missing": "not measured"}
        with tempfile.TemporaryDirectory() as beside:
            file = Path(beside) / "result.json"
            code = subprocess.run([*words, str(file)], cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode
            if code or not file.is_file():
                return {"missing": f"{kind} ended with exit code {code}"}
            result: Result = json.loads(file.read_text(encoding="utf-8"))
        if "error" in result and not refusable:
            return {"missing": result["error"]}
        if key(kind, depends) != name:
            raise UserError(f"{ROOT}: its sources changed while they were measured; run the bench again")
        self._store.put(name, depends, result)
        self.missing.discard(name)
        return result


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of these packages."""
    return {package: version(package) for package in packages}


def _last_line(file: Path) -> str:
    """The last line of a log that says anything; empty where there is none."""
    if not file.is_file():
        return ""
    lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
