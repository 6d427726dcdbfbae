"""R-MAC's loop nest over heads and over pooled channel groups, alone."""

import pytest

from hw.compiler.tasks import Task
from hw.config import TOY
from hw.control.descriptor import Opcode
from hw.engines.head_sequencer import HeadSequencer
from tests.hw.engines.walk import EIGHT, rmac_needs, walk


@pytest.mark.parametrize("config", [TOY, EIGHT], ids=lambda config: config.name)
@pytest.mark.parametrize(("heads", "tiles", "pixels"), [(3, 2, 10), (1, 1, 1), (2, 1, 8)])
def test_heads_are_walked_group_by_group(heads, tiles, pixels, config):
    step = 3 * tiles
    task = Task(
        "ktv",
        Opcode.KTV,
        {"px_end": pixels, "heads": heads, "tiles": tiles, "src_step": step, "src_cg": tiles, "v_cg": 2 * tiles},
    )
    needs = {name: value for name, value in rmac_needs(config).items() if name != "weights"}
    beats, issued, cycles = walk(HeadSequencer(config), task, config, needs=needs)
    got = [tuple(beat[name] for name in ("k_cg", "v_cg", "px", "k", "v", "entry", "row_sum")) for beat in beats]
    assert got == [
        (head * step + tiles + k, head * step + 2 * tiles + v, px, head * tiles + k, v, 2 * head, int(v == 0))
        for head in range(heads)
        for k in range(tiles)
        for v in range(tiles)
        for px in range(0, pixels, config.l)
    ]
    assert issued == task.results(config)
    # A pause follows each pass with two results, but nobody waits for the last one.
    assert cycles - 1 <= task.beats(config) <= cycles + 1


@pytest.mark.parametrize(("groups", "pixels"), [(6, 10), (1, 1), (9, 4)])
def test_pooling_is_walked_group_by_group(groups, pixels):
    task = Task("pool", Opcode.POOL, {"px_end": pixels, "tiles": groups, "src_cg": 2})
    needs = {name: value for name, value in rmac_needs(TOY).items() if name != "weights"}
    beats, issued, _ = walk(HeadSequencer(TOY), task, TOY, needs=needs, stall=0.4)
    got = [tuple(beat[name] for name in ("k_cg", "px", "cg", "entry", "mask")) for beat in beats]
    assert got == [(2 + cg, px, cg // 4 * 4, cg // 4, 1 << cg % 4) for cg in range(groups) for px in range(0, pixels, 4)]
    assert len(beats) == task.beats(TOY) and issued == task.results(TOY)
    assert [beat["lanes"] for beat in beats if beat["last"]] == [(1 << (pixels - 1) % 4 + 1) - 1] * groups
