"""The stem behind LOAD through a ring of rows: MAT says what it has read, and nothing is overwritten before."""

from collections.abc import Callable

import pytest

from hw.config import TOY, AcceleratorConfig
from hw.engines.mat_sequencer import MatSequencer
from tests.support import core_check
from tests.support.networks import NetworkBuilder
from tests.support.rings import ringed
from tests.support.tamper import constant, plus, tampered

#: Two output pixels a write.
EIGHT = TOY.with_(name="eight", n=8, m=8, t=8, s=8, l=8, max_dim=16)
true_compile = core_check.compile_network


def run(monkeypatch, config: AcceleratorConfig, ring: int, bands: int, stall: float = 0.0, limit: int = 4000) -> list[str]:
    """What differs from the golden model behind a ring of ``2^ring`` rows."""
    monkeypatch.setattr(core_check, "compile_network", lambda *args: ringed(true_compile(*args), ring, bands))
    # The stem is slower than LOAD, and rows of the output are no multiple of what LOAD writes at once.
    net = NetworkBuilder(40, 8, 10)
    net.stem(40)
    lines, program, _ = core_check.run_network(net, config, stall=stall, limit=limit)
    rows = -(-20 // config.l)
    assert any(task.get("dst_ring") == ring for task in program.tasks) and 1 << ring < rows
    return lines


@pytest.mark.parametrize(
    ("config", "ring", "bands", "stall"),
    [(TOY, 1, 1, 0.0), (TOY, 2, 1, 0.0), (TOY, 1, 3, 0.7), (EIGHT, 1, 2, 0.0)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_stem_reads_every_pixel_before_it_is_overwritten(monkeypatch, config, ring, bands, stall):
    assert run(monkeypatch, config, ring, bands, stall) == []


FAULTS: dict[str, Callable] = {
    "pixels count as read a group too early": tampered(MatSequencer, consumed=plus(TOY.l)),
    "pixels count as read with their first word": tampered(MatSequencer, consumes=constant(1)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_pixels_that_count_as_read_too_early_are_found(monkeypatch, fault):
    monkeypatch.setattr("hw.engines.mat.MatSequencer", FAULTS[fault])
    assert run(monkeypatch, TOY, 1, 1) != []


def test_a_stem_that_never_says_what_it_has_read_never_ends(monkeypatch):
    monkeypatch.setattr("hw.engines.mat.MatSequencer", tampered(MatSequencer, consumes=constant(0)))
    with pytest.raises(TimeoutError):
        run(monkeypatch, TOY, 1, 1, limit=1500)
