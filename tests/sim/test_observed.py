"""From records to tensors: every element where it belongs, with its cycle, and what was never written says so."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.config import TOY
from hw.control.descriptor import Buffer, Opcode
from quant.artifact import Artifact
from sim.bench.records import write_dtype
from sim.compare import compare
from sim.golden.model import GoldenModel
from sim.golden.trace import Trace
from sim.observed import UNWRITTEN, observe, stored, trace_of
from tests.support.networks import NetworkBuilder

L, M = TOY.l, TOY.m
WRITERS = (Opcode.PW, Opcode.QZ, Opcode.POOL, Opcode.LN)


@cache
def network() -> tuple[Artifact, Program, Trace]:
    """A stem, an attention of two heads of 8 channels, a classifier; what the golden model computes."""
    net = NetworkBuilder(3, 8, 12)
    qkv = net.pw("qkv", net.stem(6), 48)
    artifact = net.head(net.attention("att", (qkv,), 8), 9, 8, 6).artifact()
    pictures = np.random.default_rng(3).integers(0, 256, (2, 3, 8, 12)).astype(np.uint8)
    return artifact, compile_network(artifact, TOY), GoldenModel(artifact).run(pictures)


def record(cycle: int, tag: int, dst: Buffer, px: int, cg: int, words: list[NDArray], split: int = 0, row_sum: int = 0) -> tuple:
    filled = np.zeros((L, M), np.int16)
    filled[: len(words)] = words
    return cycle, tag, 0, px, cg, dst.value, split, row_sum, (1 << len(words)) - 1, filled


def plain(tensor: NDArray, tag: int, dst: Buffer, start: int) -> list[tuple]:
    """A tensor word by word, pixels first; the cycle of pixel p of channel group g is ``start + 100 g + p``."""
    values = tensor.reshape(len(tensor), -1)
    groups = -(-len(values) // M)
    padded = np.zeros((groups * M, values.shape[1]), np.int64)
    padded[: len(values)] = values
    return [
        record(start + 100 * group + px, tag, dst, px, group, [padded[group * M:(group + 1) * M, px]])
        for group in range(groups) for px in range(values.shape[1])
    ]


def attention(golden: Trace, tag: int, picture: int, batches: list[int]) -> list[tuple]:
    """The inner tensors as the hardware writes them: batch by batch, heads of a batch numbered from 0."""
    z, ksum, code = (golden.tensors[f"att.{part}"][picture] for part in ("z", "ksum", "code"))
    dim, heads = z.shape[1], len(z)
    groups, found, first = dim // M, [], 0
    for count in batches:
        for place in range(count):
            for k in range(groups):
                rows = slice(k * M, (k + 1) * M)
                for v in range(groups):
                    block = z[first + place, rows, v * M:(v + 1) * M]
                    found.append(record(500 + first + place, tag, Buffer.Z, place * groups + k, v, list(block)))
                word = ksum[first + place, rows]
                found.append(record(600 + first + place, tag, Buffer.Z, place * groups + k, 0, [word], row_sum=1))
        first += count
    for head in range(heads):
        for px in range(0, code.shape[1], L):
            words = [np.full(M, value) for value in code[head, px:px + L]]
            found.append(record(700 + head, tag, Buffer.DIV, px, 0, words, split=2))
    return found


def records_of(picture: int) -> list[tuple]:
    artifact, program, golden = network()
    found: list[tuple] = []
    for tag, layer in enumerate(artifact.layers):
        if layer.kind == "attention":
            batches = [task.get("heads") for task in program.tasks if task.opcode is Opcode.KTV]
            assert sum(batches) == 2
            found += attention(golden, tag, picture, batches)
        tasks = [task for task in program.tasks if task.get("tag") == tag and task.opcode in WRITERS]
        tensor = golden.tensors[layer.name][picture]
        if layer.name in program.orders:
            # As it lies in the buffers: the queries of all heads first.
            tensor = tensor[program.orders[layer.name]]
        found += plain(tensor, tag, Buffer(tasks[0].get("dst")), 1000 * (tag + 1))
    return found


def observed(records: list[tuple]):
    artifact, program, _ = network()
    return observe(np.array(records, write_dtype(L, M)), program, artifact)


def test_every_tensor_of_two_pictures_is_put_together():
    artifact, _, golden = network()
    trace = trace_of([observed(records_of(0)), observed(records_of(1))], artifact)
    assert set(trace.tensors) == set(golden.tensors)
    comparison = compare(golden, trace)
    assert comparison.equal, str(comparison)
    assert comparison.elements == sum(tensor.size for tensor in golden.tensors.values())
    assert (trace.layers, trace.output_name) == (golden.layers, "head.fc2")


def test_every_element_has_the_cycle_of_its_record():
    cycles = observed(records_of(0)).cycles
    assert cycles["stem.0"].shape == (6, 4, 6)
    assert (cycles["stem.0"][0, 0, 0], cycles["stem.0"][5, 2, 3]) == (1000, 1000 + 100 + 15)
    assert (cycles["att.z"][1, 0, 0], cycles["att.ksum"][0, 7], cycles["att.code"][1, 23]) == (501, 600, 701)


def test_what_was_never_written_cannot_be_mistaken_for_a_value():
    tag = 0
    records = [one for one in records_of(0) if not (one[1] == tag and one[3] == 13 and one[4] == 1)]
    found = observed(records)
    assert found.tensors["stem.0"][4:, 2, 1].tolist() == [UNWRITTEN] * 2
    assert found.cycles["stem.0"][4:, 2, 1].tolist() == [-1] * 2
    assert np.count_nonzero(found.tensors["stem.0"] == UNWRITTEN) == 2
    artifact, _, golden = network()
    comparison = compare(golden, trace_of([found, observed(records_of(1))], artifact))
    assert (comparison.mismatches, comparison.first.layer, comparison.first.index) == (2, "stem.0", (0, 4, 2, 1))


@pytest.mark.parametrize(("dst", "row_sum", "part", "missing"), [
    (Buffer.Z, 0, "z", 16), (Buffer.Z, 1, "ksum", 4), (Buffer.DIV, 0, "code", 4),
])  # fmt: skip
def test_a_missing_record_of_attention_is_missed(dst, row_sum, part, missing):
    records = records_of(0)
    last = max(i for i, one in enumerate(records) if one[5] == dst.value and one[7] == row_sum)
    found = observed(records[:last] + records[last + 1:])
    assert np.count_nonzero(found.tensors[f"att.{part}"] == UNWRITTEN) == missing
    assert np.count_nonzero(found.cycles[f"att.{part}"] == -1) == missing


def test_layers_of_which_the_program_has_no_task_are_left_out():
    artifact, program, _ = network()
    short = replace(program, tasks=program.tasks[:2])
    found = observe(np.array(records_of(0), write_dtype(L, M)), short, artifact)
    assert set(found.tensors) == {"stem.0"}


def test_the_stored_output_is_read_as_the_host_reads_it():
    artifact, program, _ = network()
    # Channels 0 .. 5 of one pixel: words of four channels, four pixels a row, of which one counts.
    memory = np.full(program.output_bytes // 2, 999, "<i2")
    memory[[0, 1, 2, 3, 16, 17]] = [10, -20, 30, -32768, 32767, 6]
    assert program.output_bytes == 64
    assert stored(memory.tobytes() + b"beyond", program, artifact).tolist() == [10, -20, 30, -32768, 32767, 6]
