"""R-MAC's products K^T V and sums over pixels, tampered with: their sequencer, the row sums and the queue of results."""

import pytest

from hw.engines.head_sequencer import HeadSequencer
from hw.engines.result_queue import ResultQueue
from hw.units.row_sum import RowSum
from tests.hw.planted_bugs.networks import attention, attention_over_old_values, pool, pool_over_old_values
from tests.hw.planted_bugs.planting import ONES, Bug, failure_with
from tests.support.tamper import constant, tampered, with_field

BUGS: dict[str, Bug] = {
    "relu of K's sum missing": ("hw.engines.rmac.RowSum", tampered(RowSum, relu=constant(0)), attention, 0),
    "relu in average pooling": ("hw.engines.rmac.RowSum", tampered(RowSum, relu=ONES), pool, 0),
    "sum over pixels that do not exist": ("hw.engines.rmac.RowSum", tampered(RowSum, lanes=ONES), pool_over_old_values, 0),
    "product over pixels that do not exist": (
        "hw.engines.rmac.HeadSequencer",
        tampered(HeadSequencer, beat=with_field("lanes", ONES)),
        attention_over_old_values,
        0,
    ),
    "heads not counted on": (
        "hw.engines.rmac.HeadSequencer",
        tampered(HeadSequencer, task=with_field("src_step", constant(0))),
        attention,
        0,
    ),
    "pooled group read from group 0's place": (
        "hw.engines.rmac.HeadSequencer",
        tampered(HeadSequencer, beat=with_field("k_cg", lambda cg: cg & 3)),
        pool,
        0,
    ),
    "a result given to nobody": ("hw.engines.rmac.ResultQueue", tampered(ResultQueue, push=constant(0)), pool, 0),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str):
    assert failure_with(monkeypatch, BUGS[bug]) is not None
