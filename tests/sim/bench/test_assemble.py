"""Tensors from write records, against a plain loop."""

import numpy as np
import pytest

from sim.bench.assemble import strays, tensor
from sim.bench.records import write_dtype

L, M = 8, 4


def _records(rng, count):
    records = np.zeros(count, write_dtype(L, M))
    records["cycle"] = np.cumsum(rng.integers(1, 4, count))
    records["tag"], records["dst"] = rng.integers(0, 2, count), rng.integers(0, 2, count)
    records["px"], records["cg"] = rng.integers(0, 20, count), rng.integers(0, 4, count)
    records["split"], records["mask"] = rng.integers(0, 4, count), rng.integers(0, 1 << L, count)
    records["row_sum"] = rng.integers(0, 2, count)
    records["words"] = rng.integers(-32768, 32768, (count, L, M))
    return records


def _by_hand(records, channels, pixels, row_sum):
    values, cycles, outside = np.zeros((channels, pixels), int), np.full((channels, pixels), -1), 0
    for record in records:
        if record["tag"] != 1 or record["dst"] != 0 or row_sum not in (None, bool(record["row_sum"])):
            continue
        lp = 1 << int(record["split"])
        for slot in range(L):
            if not int(record["mask"]) >> slot & 1:
                continue
            pixel, group = int(record["px"]) + slot % lp, int(record["cg"]) + slot // lp
            for m in range(M):
                outside += pixel >= pixels or group >= -(-channels // M)
                if pixel < pixels and group * M + m < channels:
                    values[group * M + m, pixel], cycles[group * M + m, pixel] = record["words"][slot, m], record["cycle"]
    return values, cycles, outside


@pytest.mark.parametrize("row_sum", [None, True, False])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_plain_loop(seed, row_sum):
    records = _records(np.random.default_rng(seed), 60)
    values, cycles, outside = _by_hand(records, 18, 21, row_sum)
    got = tensor(records, 1, 0, 18, 21, row_sum=row_sum)
    assert (got.values == values).all()
    assert (got.cycles == cycles).all()
    assert (got.written == (cycles >= 0)).all()
    if row_sum is None:
        assert strays(records, 1, 0, 18, 21) == outside


def test_nothing_written_is_all_unwritten():
    got = tensor(np.zeros(0, write_dtype(L, M)), 1, 0, 3, 2)
    assert got.values.shape == (3, 2)
    assert not got.written.any()
