"""What is added up of the latencies."""

from hw.config import TOY, ZCU102
from hw.engines.mac_block import MacBlock
from hw.engines.mat_operands import MatOperands
from hw.engines.shared_operands import SharedOperands
from hw.memory.act_buffer import ActBuffer
from hw.memory.bank_buffer import BankBuffer
from hw.memory.reader import Reader
from hw.timing import IDLE, OPEN, START, Timing


def test_ways_of_results():
    timing = Timing(
        mat_result=1, ln_result=20, dw_result=30, ktv_result=40, pool_result=50, written=600, dw_setup=70, ln_turn=80, ring=90
    )
    assert timing.mat_written == 601
    assert timing.step == 601 + IDLE + START
    assert timing.early_step == OPEN + START - 1


def test_results_of_a_larger_tree_are_readable_later():
    toy, board = Timing.of(TOY), Timing.of(ZCU102)
    # Eight inputs are added in one more level than four.
    assert board.mat_written - toy.mat_written == 1


def test_all_activation_buffers_are_read_and_written_in_the_same_time():
    # Both engines have beats of a joint task at once, and a result that goes to two buffers counts as written at once.
    assert Reader.latency == ActBuffer.read_latency
    assert BankBuffer.write_latency == ActBuffer.write_latency


def test_shared_operands_come_when_the_blocks_take_them():
    assert MatOperands.x_latency == SharedOperands.latency == MacBlock.shared_after
