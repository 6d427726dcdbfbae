"""Compares what the bare datapath writes with the golden model, tensor by tensor, attention's inner ones included."""

from collections import Counter

import numpy as np

from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.config import AcceleratorConfig
from hw.control.descriptor import Buffer, Opcode
from quant.artifact import Artifact
from sim.golden.model import GoldenModel
from tests.support.core_bench import CoreRun, run_core, tensors
from tests.support.networks import NetworkBuilder

#: What no tensor holds: marks values that were never written.
UNWRITTEN = -9999


def attention_tensors(program: Program, artifact: Artifact, run: CoreRun) -> dict[str, np.ndarray]:
    """Z, Ksum and the divisors' codes of every attention layer, from the records of KTV and DIV.

    The records of a task follow each other in the order of its loops; a head's place in its batch is not in the record of DIV.
    """
    config, found = program.config, {}
    for tag, layer in enumerate(artifact.layers):
        if layer.kind != "attention":
            continue
        heads, dim, pixels = layer.attrs["heads"], layer.attrs["dim"], int(np.prod(layer.output_shape[1:]))
        size = config.m
        z, ksum = np.full((heads, dim, dim), UNWRITTEN), np.full((heads, dim), UNWRITTEN)
        code = np.full((heads, pixels), UNWRITTEN)
        records = {dst: iter([r for r in run.writes if r["tag"] == tag and r["dst"] == dst]) for dst in (Buffer.Z, Buffer.DIV)}
        first = {Opcode.KTV: 0, Opcode.DIV: 0}
        for task in program.tasks:
            if task.get("tag") != tag or task.opcode not in first:
                continue
            count = task.get("heads") if task.opcode is Opcode.KTV else task.get("tiles")
            for index in range(task.results(config)):
                record = next(records[Buffer.Z if task.opcode is Opcode.KTV else Buffer.DIV])
                if task.opcode is Opcode.DIV:
                    head = first[Opcode.DIV] + index // task.get("dst_rows")
                    for slot, word in record["words"].items():
                        code[head, record["px"] + slot] = word[0]
                    continue
                head, k = divmod(record["px"], task.get("tiles"))
                head += first[Opcode.KTV]
                if record["row_sum"]:
                    ksum[head, k * size : (k + 1) * size] = record["words"][0]
                else:
                    columns = slice(record["cg"] * size, (record["cg"] + 1) * size)
                    for i in range(size):
                        z[head, k * size + i, columns] = record["words"][i]
            first[task.opcode] += count
        assert not any(next(left, None) for left in records.values()), f"{layer.name}: more results than the tasks have"
        found |= {f"{layer.name}.z": z, f"{layer.name}.ksum": ksum, f"{layer.name}.code": code}
    return found


def places_written(program: Program, run: CoreRun) -> Counter:
    """How often each pixel of each channel group of each layer was written."""
    counts: Counter = Counter()
    for record in run.writes:
        if record["dst"] not in (Buffer.Z, Buffer.DIV):
            counts.update(
                (record["tag"], record["px"] + i % (1 << record["split"]), record["cg"] + (i >> record["split"]))
                for i in record["words"]
            )
    return counts


def differences(artifact: Artifact, program: Program, picture: np.ndarray, run: CoreRun) -> list[str]:
    """One line a tensor that differs from the golden model's, in the order of their computation."""
    golden = GoldenModel(artifact).run(picture[None])
    got = tensors(program, artifact, run) | attention_tensors(program, artifact, run)
    lines = []
    for layer in artifact.layers:
        for name in golden.of_layer(layer.name):
            expected = golden.tensors[name][0].reshape(got[name].shape)
            wrong = np.argwhere(got[name] != expected)
            if len(wrong):
                at = tuple(map(int, wrong[0]))
                lines.append(
                    f"{name}: {len(wrong)} of {expected.size} differ, first at {at}: {got[name][at]} instead of {expected[at]}"
                )
    return lines


def run_network(
    net: NetworkBuilder,
    config: AcceleratorConfig,
    *,
    picture: np.ndarray | None = None,
    stall: float = 0.0,
    seed: int = 0,
    limit: int = 20_000,
) -> tuple[list[str], Program, CoreRun]:
    """Compile and run a network; what differs, the program and what happened."""
    artifact = net.artifact()
    if picture is None:
        picture = np.random.default_rng(seed).integers(0, 256, artifact.input_shape).astype(np.uint8)
    program = compile_network(artifact, config)
    pads = [int(p) for p in artifact.layers[0].arrays["pad"]]
    run = run_core(program, picture, pads=pads, stall=stall, seed=seed, limit=limit)
    return differences(artifact, program, picture, run), program, run


def check(
    net: NetworkBuilder, config: AcceleratorConfig, *, picture: np.ndarray | None = None, stall: float = 0.0, seed: int = 0
) -> tuple[Program, CoreRun]:
    """Every tensor must equal the golden model's, every place must be written once, every result must have been announced."""
    lines, program, run = run_network(net, config, picture=picture, stall=stall, seed=seed)
    assert not lines, "\n".join(lines)
    assert set(places_written(program, run).values()) == {1}, "a place was written twice"
    results = sum(task.results(config) << task.joint for task in program.tasks)
    assert len(run.writes) == results, "the tasks promise another number of results"
    return program, run
