"""K^T V and the row sums of K, kept as the weights of Q Z and Q Ksum."""

from amaranth import Module, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig
from quant.contract import ACT_BITS


def z_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """A row of Z as MAT's weights: ``[group j][lane n][input i]`` int8."""
    return data.ArrayLayout(data.ArrayLayout(data.ArrayLayout(signed(ACT_BITS), config.m), config.m), config.max_groups)


class ZBuffer(wiring.Component):
    """Two slots of one head each: ``Z[i][j]`` and ``Ks[i]`` (integer contract, section 7).

    Written word group by word group as R-MAC completes them; read as a weight row: input channels ``k*m ..``, all output channels.

    Members
    -------
    write_valid : In(1)
        Store ``rows`` into slot ``write_slot``: Z rows ``write_k * m + i``, columns of group ``write_j``; or, with ``write_ksum``, ``rows[0]`` as Ks of group ``write_k``.
    read_slot, read_k : In
        The row, answered ``latency`` cycles later.
    z : Out([group j][lane n][input i] of int8)
        ``Z[k*m + i][j*m + n]``.
    ksum : Out([input i] of int8)
        ``Ks[k*m + i]``.
    """

    #: Cycles from ``read_k`` to the row.
    latency = 2

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        size, groups = config.m, config.max_groups
        group_index = range(max(2, groups))
        square = data.ArrayLayout(data.ArrayLayout(signed(ACT_BITS), size), size)
        super().__init__({
            "write_valid": In(1),
            "write_slot": In(1),
            "write_k": In(group_index),
            "write_j": In(group_index),
            "write_ksum": In(1),
            "rows": In(square),
            "read_slot": In(1),
            "read_k": In(group_index),
            "z": Out(z_layout(config)),
            "ksum": Out(data.ArrayLayout(signed(ACT_BITS), size)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, groups = self.config.m, self.config.max_groups
        depth = 2 << ceil_log2(max(2, groups))
        address = Signal(range(depth))
        m.d.comb += address.eq(self.read_k << 1 | self.read_slot)
        for j in range(groups):
            m.submodules[f"z_{j}"] = store = memory.Memory(shape=unsigned(size * size * ACT_BITS), depth=depth, init=[])
            write, read = store.write_port(), store.read_port(domain="sync")
            m.d.comb += [
                write.en.eq(self.write_valid & ~self.write_ksum & (self.write_j == j)),
                write.addr.eq(self.write_k << 1 | self.write_slot),
                read.addr.eq(address),
                read.en.eq(1),
            ]
            for n in range(size):
                for i in range(size):
                    m.d.comb += write.data.word_select(n * size + i, ACT_BITS).eq(self.rows[i][n])
            m.d.sync += data.View.as_value(self.z[j]).eq(read.data)
        m.submodules.ksum_store = store = memory.Memory(shape=unsigned(size * ACT_BITS), depth=depth, init=[])
        write, read = store.write_port(), store.read_port(domain="sync")
        m.d.comb += [
            write.en.eq(self.write_valid & self.write_ksum),
            write.addr.eq(self.write_k << 1 | self.write_slot),
            write.data.eq(self.rows[0]),
            read.addr.eq(address),
            read.en.eq(1),
        ]
        m.d.sync += data.View.as_value(self.ksum).eq(read.data)
        return m
