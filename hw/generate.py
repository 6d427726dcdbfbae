"""``generate``: Verilog, program and weight image, and the manifest that describes both."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hw import verilog
from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.config import AcceleratorConfig
from hw.control import register_map
from hw.control.descriptor import DESCRIPTOR, FIELDS, SIZE
from quant.artifact import Artifact
from triovit import files
from triovit.progress import Progress, silent

SCHEMA, VERSION = "triovit-hardware", 3
MANIFEST, VERILOG, IMAGE = "manifest.json", "triovit.v", "program.bin"

#: What is known of a program's cycles, for the manifest.
Predict = Callable[[Program], Mapping[str, Any]]


def descriptor_format() -> list[dict[str, Any]]:
    """The program format: every field of a descriptor with its place."""
    described, low = [], 0
    for name, _, meaning in FIELDS:
        bits = DESCRIPTOR[name].width
        described.append({"name": name, "low": low, "bits": bits, "meaning": meaning})
        low += bits
    return described


def manifest(artifact: Artifact, program: Program, hashes: Mapping[str, str], predict: Predict | None) -> dict[str, Any]:
    """Everything that a host, a board project or a reader needs to know of the generated files."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "configuration": program.config.to_dict(),
        "multipliers": program.config.multipliers,
        "versions": verilog.versions(),
        "network": artifact.network,
        "registers": register_map.to_dict(program.config),
        "program": {
            "descriptor_bytes": SIZE,
            "descriptor_fields": descriptor_format(),
            "count": program.descriptor_count,
            "pictures": program.batch.pictures,
            "weight_beats": program.weight_beats,
            "repeated_beats": program.repeated_beats,
            "addresses": program.addresses,
            "picture_bytes": program.picture_bytes,
            "output_bytes": program.output_bytes,
            "tasks": [
                {"layer": task.layer, "opcode": task.opcode.name, "joint": task.joint, "beats": task.beats(program.config)}
                for task in program.tasks
            ],
        },
        "predicted": dict(predict(program)) if predict is not None else None,
        "files": dict(hashes),
    }


def generate(
    artifact: Artifact,
    config: AcceleratorConfig,
    directory: Path,
    predict: Predict | None = None,
    progress: Progress = silent,
    *,
    batch: int = 1,
) -> dict[str, Any]:
    """Write ``directory``, whole or not at all; returns the manifest. The program is for runs of ``batch`` pictures.

    Raises
    ------
    UserError
        The network does not fit the configuration, or ``directory`` is something else than what ``generate`` writes.
    """
    program = compile_network(artifact, config, batch)
    progress("generate", 0, 2)
    text = verilog.emit(config).read_bytes()
    progress("generate", 1, 2)
    contents = {VERILOG: text, IMAGE: program.image()}
    described = manifest(artifact, program, {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}, predict)
    with files.atomic_directory(directory, MANIFEST) as new:
        for name, data in contents.items():
            (new / name).write_bytes(data)
        files.write_json(new / MANIFEST, described)
    progress("generate", 2, 2)
    return described
