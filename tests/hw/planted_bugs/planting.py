"""Runs a network on the core, with a bug planted or without, and says how the run fails."""

from collections.abc import Callable
from typing import Any

import pytest

from hw.config import TOY, AcceleratorConfig
from tests.hw.planted_bugs.networks import folded, strided_product
from tests.support import core_check
from tests.support.networks import NetworkBuilder
from tests.support.tamper import constant

#: A run that works takes a few hundred cycles.
LIMIT = 1200
BATCHES = TOY.with_(name="batches", z_rows=4)
ONES = constant(-1)
#: What is replaced, by what, and the network that must show it (with random pauses in the stream, where they are needed).
Bug = tuple[str, Any, Callable[[NetworkBuilder], None], float]


def failure(grow: Callable[[NetworkBuilder], None], stall: float = 0.0, config: AcceleratorConfig = BATCHES) -> str | None:
    """How the run of a network fails; None where everything is as it must be."""
    net = NetworkBuilder(30, *((8, 10) if grow in (folded, strided_product) else (4, 6)))
    grow(net)
    try:
        lines, program, run = core_check.run_network(net, config, stall=stall, limit=int(LIMIT / (1 - stall)))
    except TimeoutError:
        return "no end"
    except AssertionError as error:
        return f"impossible result {error}"
    written = core_check.places_written(program, run)
    return lines[0] if lines else "written twice" if set(written.values()) != {1} else None


def failure_with(monkeypatch: pytest.MonkeyPatch, bug: Bug) -> str | None:
    """How the bug's network fails when the bug is planted."""
    where, false, grow, stall = bug
    monkeypatch.setattr(where, false)
    return failure(grow, stall)
