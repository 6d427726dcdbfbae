"""Valid descriptors to begin from, and units that only pretend to work."""

import random
from collections.abc import Callable

from hw.control.descriptor import SIZE, Opcode, pack

#: The least that each task needs to be accepted.
VALID: dict[Opcode, dict[str, object]] = {
    Opcode.END: {},
    Opcode.LOAD: {"stride": 2, "h_in": 4, "w_in": 4},
    Opcode.STORE: {"px_end": 1, "dst_cg_end": 1},
    Opcode.PW: {"tiles": 1, "depth": 1, "px_end": 1},
    Opcode.QZ: {"tiles": 1, "depth": 1, "px_end": 1},
    Opcode.DIV: {"tiles": 1, "depth": 1, "px_end": 1},
    Opcode.LN: {"depth": 1},
    Opcode.DW: {"tiles": 1, "px_end": 1, "kernel": 3, "stride": 1},
    Opcode.KTV: {"tiles": 1, "heads": 1, "px_end": 1},
    Opcode.POOL: {"tiles": 1, "px_end": 1},
}


def descriptor(opcode: Opcode, **changes: object) -> bytes:
    """A valid descriptor, with changes."""
    return pack({"opcode": opcode, **VALID[opcode], **changes})


def as_payload(blob: bytes) -> int:
    """The raw bits that a testbench puts on a stream of descriptors."""
    return int.from_bytes(blob, "little")


def program(*descriptors: bytes) -> bytes:
    """Descriptors one after the other."""
    assert all(len(one) == SIZE for one in descriptors)
    return b"".join(descriptors)


def pretend(port: object, log: list, name: str, seed: int, longest: Callable[[], int] = lambda: 30,
            cycle: Callable[[], int] = lambda: 0) -> Callable:
    """A unit that is busy for a random time up to ``longest()``; logs ``(cycle, "start" or "end", name, tag, joint)``."""
    rng = random.Random(seed)

    async def testbench(ctx):
        while True:
            *_, start, tag, joint = await ctx.tick().sample(port.start, port.task.tag, port.task.joint)
            if not start:
                continue
            assert ctx.get(port.start) == 0 or ctx.get(port.busy) == 0
            log.append((cycle(), "start", name, tag, joint))
            ctx.set(port.busy, 1)
            for _ in range(rng.randint(1, longest())):
                *_, again = await ctx.tick().sample(port.start)
                assert not again, f"{name} was started while busy"
            ctx.set(port.busy, 0)
            log.append((cycle(), "end", name, tag, joint))

    return testbench
