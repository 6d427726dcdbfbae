"""Which operands meet in each of MAT's blocks, against the rule in docs/architecture.md, sections 3 and 4."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hw.config import TOY, AcceleratorConfig
from hw.control.descriptor import Opcode
from hw.engines import mat_operands
from hw.engines.mat_operands import MatOperands
from quant.contract import LOW_BITS
from tests.hw.units.drive import plain, simulate

#: The blocks and groups of `zcu102`, with narrow words.
SIXTEEN = TOY.with_(name="sixteen", l=16, max_dim=16)


def random_task(config: AcceleratorConfig, rng: np.random.Generator) -> dict[str, Any]:
    """A product with weights, or a legal one with what the Z buffer has."""
    task = {"opcode": rng.choice([Opcode.PW, Opcode.QZ, Opcode.DIV]), "relu": int(rng.integers(2)), "wide": 0}
    if task["opcode"] is Opcode.QZ:
        groups = 1 << int(rng.integers(config.max_groups.bit_length()))
        task["wide"] = int(rng.integers(2)) if 2 * groups <= config.l else 0
        return task | {"lp": (config.l // groups >> task["wide"]).bit_length() - 1}
    splits = config.l.bit_length()
    return task | {"lp": splits - 1 if task["opcode"] is Opcode.DIV else int(rng.integers(splits))}


def random_data(config: AcceleratorConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What comes from the buffers."""
    slots, size, groups, low = config.l, config.m, config.max_groups, 1 << LOW_BITS
    return {
        "words": rng.integers(-128, 128, (slots, size)),
        "weights": rng.integers(-128, 128, (slots, size, size)),
        "z": rng.integers(-128, 128, (groups, size, size)),
        "z_low": rng.integers(0, low, (groups, size, size)),
        "ksum": rng.integers(0, low, size),
        "ksum_low": rng.integers(0, low, size),
    }


def expected(config: AcceleratorConfig, task: dict[str, Any], given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The words, and the other operands of the lanes that count."""
    half, lp = config.l // 2, task["lp"]
    x = given["words"][np.arange(config.l) % (1 << lp)]
    x = np.maximum(x, 0) if task["relu"] else x
    match task["opcode"]:
        case Opcode.PW:
            return x, given["weights"]
        case Opcode.DIV:
            return x, np.stack([np.stack([given["ksum"], given["ksum_low"]])] * config.l)
    blocks = range(config.l)
    if not task["wide"]:
        return x, np.stack([given["z"][block >> lp] for block in blocks])
    return x, np.stack([given["z"][b >> lp] if b < half else given["z_low"][b - half >> lp] for b in blocks])


def errors(config: AcceleratorConfig, count: int) -> set[str]:
    """The opcodes whose operands are wrong, where the task changes every cycle."""
    rng = np.random.default_rng(5)
    dut = MatOperands(config)
    wrong, seen = set(), set()

    async def testbench(ctx: Any) -> None:
        task, last_x = random_task(config, rng), None
        for _ in range(count):
            ctx.set(dut.ahead, task)
            await ctx.tick()
            following, given = random_task(config, rng), random_data(config, rng)
            ctx.set(dut.ahead, following)
            for name, value in given.items():
                ctx.set(getattr(dut, name), value.tolist())
            x, private = expected(config, task, given)
            if last_x is not None and plain(ctx.get(dut.x)) != last_x:
                wrong.add("x")
            last_x = x.tolist()
            got = np.array(plain(ctx.get(dut.private)))
            if not np.array_equal(got[:, : private.shape[1]], private):
                wrong.add(task["opcode"].name)
            seen.add((task["opcode"], task["lp"], task["wide"], task["relu"]))
            task = following

    simulate(dut, testbench)
    assert len(seen) > 3 * config.l.bit_length()
    return wrong


@pytest.mark.parametrize("config", [TOY, SIXTEEN], ids=lambda config: config.name)
def test_every_block_has_its_operands(config: AcceleratorConfig):
    assert errors(config, 400) == set()


def test_blocks_share_only_what_they_choose_alike(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mat_operands, "_WAYS", 3)
    assert errors(SIXTEEN, 200) == set()
    # As if what a neighbour chooses did for every block.
    monkeypatch.setattr(mat_operands._Choices, "_among_shared", shared_by_all())
    assert errors(SIXTEEN, 200) == {"x", "QZ"}


def shared_by_all() -> Callable[..., str]:
    """The first shared multiplexer of each kind, for whoever asks for one."""
    true = mat_operands._Choices._among_shared

    def shared(self: mat_operands._Choices, *args: Any) -> str:
        return next(iter(self._shared)) if self._shared else true(self, *args)

    return shared
