"""Whatever fails in a run of the built-in network, hardware says what, never hangs, and the next run is right."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.config import TOY
from hw.control.descriptor import DESCRIPTOR, FIELDS, SIZE, Opcode
from hw.control.errors import ErrorCode
from sim.bench.runner import Outcome, RunResult
from sim.golden.model import GoldenModel
from tests.support.road import Copy, Dram, digits_artifact, held_out, needs_simulator, toy

pytestmark = needs_simulator
#: Longer than anything waits in a run that goes well.
PATIENCE = 3000
BEAT = TOY.beat_bytes


@pytest.fixture(scope="module", autouse=True)
def simulator() -> None:
    toy()


@pytest.fixture(scope="module")
def logits() -> NDArray[np.int64]:
    return GoldenModel(digits_artifact()).run(held_out(1)).output[0].astype(np.int64)


@pytest.fixture
def dram() -> Dram:
    return Dram(digits_artifact(), held_out(1)[0])


def check(dram: Dram, run: RunResult, copies: list[Copy], codes: list[ErrorCode], logits: NDArray[np.int64]) -> None:
    """Every run ended as it must, with an interrupt; those without an error have the right result in their own region."""
    assert run.outcome is Outcome.FINISHED, run.where()
    assert run.violations == []
    assert [ErrorCode(report["error_code"]) for report in run.reports] == codes
    for copy, report, code in zip(copies, run.reports, codes, strict=True):
        failed = code is not ErrorCode.NONE
        assert (report["irq"], report["error"], report["done"]) == (1, failed, not failed), code
        if not failed:
            assert dram.result(run, copy).tolist() == logits.tolist()


def test_the_same_program_again_and_again(dram, logits):
    copies = [dram.add(), dram.add()]
    run = dram.run(*copies, copies[0])
    check(dram, run, [*copies, copies[0]], [ErrorCode.NONE] * 3, logits)


def spoilt(descriptors: bytes, index: int, **fields: int) -> bytes:
    """A program with other fields in one descriptor."""
    word = int.from_bytes(descriptors[index * SIZE:(index + 1) * SIZE], "little")
    low = 0
    for name, _, _ in FIELDS:
        width = DESCRIPTOR[name].width
        if name in fields:
            word = word & ~(((1 << width) - 1) << low) | fields[name] << low
        low += width
    return descriptors[:index * SIZE] + word.to_bytes(SIZE, "little") + descriptors[(index + 1) * SIZE:]


def test_malformed_descriptors_each_followed_by_a_good_run(dram, logits):
    good, program = dram.add(), dram.program
    opcodes = [task.opcode for task in program.tasks]
    depthwise, product = opcodes.index(Opcode.DW), opcodes.index(Opcode.PW)
    last = program.descriptor_count - 1
    cases = [
        (0, {"magic": 0xA6}, ErrorCode.BAD_MAGIC),
        (last, {"magic": 0}, ErrorCode.BAD_MAGIC),
        (7, {"opcode": 10}, ErrorCode.BAD_OPCODE),
        (2, {"opcode": 15}, ErrorCode.BAD_OPCODE),
        (0, {"w_in": 31}, ErrorCode.BAD_FIELD),
        (product, {"lp": 3}, ErrorCode.BAD_FIELD),
        (product, {"depth": 0}, ErrorCode.BAD_FIELD),
        (depthwise, {"kernel": 4}, ErrorCode.BAD_FIELD),
        (depthwise, {"px_end": 0}, ErrorCode.BAD_FIELD),
        (opcodes.index(Opcode.STORE), {"dst_cg_end": 0}, ErrorCode.BAD_FIELD),
    ]
    copies, codes, indices = [], [], []
    for index, fields, code in cases:
        copies += [dram.add(spoilt(program.descriptors, index, **fields)), good]
        codes += [code, ErrorCode.NONE]
        indices += [index, 0]
    run = dram.run(*copies)
    check(dram, run, copies, codes, logits)
    for report, index, code in zip(run.reports, indices, codes, strict=True):
        assert code is ErrorCode.NONE or report["error_index"] == index


def test_a_program_without_end_and_bad_weights_each_followed_by_a_good_run(dram, logits):
    good, program = dram.add(), dram.program
    weights, count = program.weights, program.descriptor_count
    third = next(task for task in program.tasks if task.opcode is Opcode.DW).packets[0]
    before = sum(packet.beats(TOY) for task in program.tasks[:2] for packet in task.packets) * BEAT
    assert weights[before:before + 2] == b"TW" and third.rows == int.from_bytes(weights[before + 4:before + 6], "little")

    def flipped(at: int) -> bytes:
        return weights[:at] + bytes([weights[at] ^ 0x80]) + weights[at + 1:]

    # The second depthwise task, of another form than the first, waits behind a product without weights: R-MAC has prepared it.
    waiting = [index for index, task in enumerate(program.tasks) if task.opcode is Opcode.DW][1]
    behind = sum(packet.beats(TOY) for task in program.tasks[: waiting - 1] for packet in task.packets)
    assert program.tasks[waiting - 1].opcode is Opcode.PW and program.tasks[waiting - 1].packets

    hasty = {"watchdog": PATIENCE}
    cases = [
        (good.changed(weights_beats=behind, **hasty), ErrorCode.WATCHDOG, waiting),
        (good.changed(program_count=count - 1, **hasty), ErrorCode.WATCHDOG, count - 2),
        (good.changed(program_count=1, **hasty), ErrorCode.WATCHDOG, 0),
        (good.changed(program_count=0, **hasty), ErrorCode.WATCHDOG, 0),
        (dram.add(weights=flipped(0)), ErrorCode.BAD_WEIGHTS, None),
        (dram.add(weights=flipped(before + 1)), ErrorCode.BAD_WEIGHTS, None),
        (dram.add(weights=flipped(before + 2)), ErrorCode.BAD_WEIGHTS, None),  # the packet's kind
        (good.changed(weights_beats=program.weight_beats - 1, **hasty), ErrorCode.WATCHDOG, count - 2),
        (good.changed(weights_beats=program.weight_beats // 2, **hasty), ErrorCode.WATCHDOG, None),
        (good.changed(weights_beats=0, **hasty), ErrorCode.WATCHDOG, None),
    ]
    copies = [copy for case in cases for copy in (case[0], good)]
    codes = [code for case in cases for code in (case[1], ErrorCode.NONE)]
    run = dram.run(*copies)
    check(dram, run, copies, codes, logits)
    for report, (_, code, index) in zip(run.reports[::2], cases, strict=True):
        assert index is None or report["error_index"] == index, (code, report)


@pytest.mark.parametrize(("where", "offset", "code"), [
    ("program", 0, ErrorCode.AXI_READ),
    ("program", 20 * SIZE + BEAT, ErrorCode.AXI_READ),
    ("weights", 0, ErrorCode.AXI_READ),
    ("weights", 3001 * BEAT, ErrorCode.AXI_READ),
    ("picture", 0, ErrorCode.AXI_READ),
    ("picture", 3072 - BEAT, ErrorCode.AXI_READ),
    ("output", 0, ErrorCode.AXI_WRITE),
    ("output", 5 * BEAT, ErrorCode.AXI_WRITE),
])  # fmt: skip
@pytest.mark.parametrize("memory", [{"latency": 20}, {"latency": 300, "stall": 30, "seed": 4}], ids=["quick", "slow"])
def test_answers_with_an_error_are_followed_by_good_runs(dram, logits, where, offset, code, memory):
    # One of two copies of everything has the spoilt address.
    spoilt, good = dram.add(), dram.add()
    copies = [good, spoilt, good, good.changed(**{where: spoilt.arguments[where]}), good]
    fault = {"write_error" if where == "output" else "read_error": spoilt.arguments[where] + offset}
    run = dram.run(*copies, **fault, **memory)
    check(dram, run, copies, [ErrorCode.NONE, code, ErrorCode.NONE, code, ErrorCode.NONE], logits)


def test_addresses_outside_the_memory(dram, logits):
    good = dram.add()
    far = 1 << 36
    cases = dict.fromkeys(("program", "weights", "picture"), ErrorCode.AXI_READ) | {"output": ErrorCode.AXI_WRITE}
    copies = [copy for name in cases for copy in (good.changed(**{name: far}), good)]
    run = dram.run(*copies)
    check(dram, run, copies, [code for cause in cases.values() for code in (cause, ErrorCode.NONE)], logits)
