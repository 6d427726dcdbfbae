"""What is added up of the latencies."""

from hw.config import TOY, ZCU102
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
