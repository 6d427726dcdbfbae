"""The rotation of a row of words, and K^T V as the weights of Q Z."""

import random

import pytest
from amaranth import unsigned

from hw.config import TOY, ZCU102, AcceleratorConfig
from hw.memory.rotate import Rotator
from hw.memory.z_buffer import ZBuffer
from tests.hw.units.drive import plain, simulate, stream_through

FLAT = TOY.with_(name="flat", max_dim=4, z_rows=2)


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_every_rotation_in_every_cycle(lanes):
    rng = random.Random(lanes)
    dut = Rotator(unsigned(5), lanes)
    amounts = [amount for amount in range(lanes) for _ in range(3)]
    rng.shuffle(amounts)
    vectors = [{"i": [rng.randrange(32) for _ in range(lanes)], "amount": amount} for amount in amounts]
    got = stream_through(dut, Rotator.latency, vectors, ["o"])
    assert [out["o"] for out in got] == [v["i"][v["amount"] :] + v["i"][: v["amount"]] for v in vectors]


@pytest.mark.parametrize("config", [FLAT, TOY, ZCU102], ids=lambda config: config.name)
def test_z_buffer_gives_weights(config: AcceleratorConfig):
    rng = random.Random(1)
    dut, size, groups = ZBuffer(config), config.m, config.max_groups
    depth = min(8, config.z_rows)
    rows = [*range(depth // 2), *range(config.z_rows - depth // 2, config.z_rows)]
    squares = {
        (row, j): [[rng.randint(-128, 127) for _ in range(size)] for _ in range(size)] for row in rows for j in range(groups)
    }
    lows = {place: [[rng.randrange(128) for _ in range(size)] for _ in range(size)] for place in squares}
    sums, sums_low = ({row: [rng.randrange(128) for _ in range(size)] for row in rows} for _ in range(2))

    async def testbench(ctx):
        writes = [*squares, *((row, None) for row in rows)]
        rng.shuffle(writes)
        ctx.set(dut.write_valid, 1)
        for row, j in writes:
            ctx.set(dut.write_row, row)
            ctx.set(dut.write_ksum, j is None)
            ctx.set(dut.write_j, rng.randrange(groups) if j is None else j)
            other = [[rng.randint(-128, 127) for _ in range(size)] for _ in range(size)]
            ctx.set(dut.rows, [sums[row], *other[1:]] if j is None else squares[row, j])
            below = [[rng.randrange(128) for _ in range(size)] for _ in range(size)]
            ctx.set(dut.rows_low, [sums_low[row], *below[1:]] if j is None else lows[row, j])
            await ctx.tick()
        # Without its strobe a write does nothing.
        ctx.set(dut.write_valid, 0)
        ctx.set(dut.rows, [[1] * size] * size)
        ctx.set(dut.rows_low, [[1] * size] * size)
        requests = [writes[-1][0], *(rng.choice(rows) for _ in range(60))]
        for cycle in range(len(requests) + dut.latency):
            if cycle < len(requests):
                ctx.set(dut.read_row, requests[cycle])
            if cycle >= dut.latency:
                row = requests[cycle - dut.latency]
                # Lane n has the column n of Z: its weights are those of the channels i.
                for port, values in ((dut.z, squares), (dut.z_low, lows)):
                    assert plain(ctx.get(port)) == [
                        [list(column) for column in zip(*values[row, j], strict=True)] for j in range(groups)
                    ]
                assert plain(ctx.get(dut.ksum)) == sums[row]
                assert plain(ctx.get(dut.ksum_low)) == sums_low[row]
            await ctx.tick()

    simulate(dut, testbench)
