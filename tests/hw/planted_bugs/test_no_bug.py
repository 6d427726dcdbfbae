"""Where no bug is planted nothing is found: what the other tests find comes from the bugs."""

import pytest

from hw.engines.mat_sequencer import MatSequencer
from hw.memory.paired_ring import PairedRing
from hw.memory.row_ring import RowRing
from hw.units.second_step import SecondStep
from tests.hw.planted_bugs.networks import NETWORKS, product
from tests.hw.planted_bugs.planting import failure
from tests.support.tamper import tampered


@pytest.mark.parametrize("grow", NETWORKS, ids=lambda grow: grow.__name__)
def test_nothing_is_found_where_nothing_is_wrong(grow):
    assert failure(grow) is None


def test_nothing_is_found_where_weights_only_come_late():
    assert failure(product, stall=0.8) is None


def test_faults_are_those_of_the_ports_only():
    """A shell without faults changes nothing: what is found comes from the fault."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hw.engines.mat.MatSequencer", tampered(MatSequencer))
        patch.setattr("hw.units.post_processor.SecondStep", tampered(SecondStep))
        patch.setattr("hw.core.RowRing", tampered(RowRing))
        patch.setattr("hw.core.PairedRing", tampered(PairedRing))
        assert failure(product) is None
