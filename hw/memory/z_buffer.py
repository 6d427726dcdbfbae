"""K^T V and the row sums of K, kept as the weights of Q Z and Q Ksum."""

from amaranth import Module, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig
from hw.cost import Resources, ram
from quant.contract import ACT_BITS


def z_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """A row of Z as MAT's weights: ``[group j][lane n][input i]`` int8."""
    return data.ArrayLayout(data.ArrayLayout(data.ArrayLayout(signed(ACT_BITS), config.m), config.m), config.max_groups)


class ZBuffer(wiring.Component):
    """``Z[i][j]`` and ``Ks[i]`` of some heads (integer contract, section 7), a row for each ``m`` values of ``i``.

    Written square by square as R-MAC completes them; read as a weight row: ``m`` input channels, all output channels.

    Members
    -------
    write_valid : In(1)
        Store ``rows`` into row ``write_row``: ``Z[k*m + i][j*m + n] = rows[i][n]`` of column group ``j = write_j``; or, with
        ``write_ksum``, ``rows[0]`` as Ks.
    read_row : In
        The row, answered ``latency`` cycles later.
    z : Out([group j][lane n][input i] of int8)
        ``Z[k*m + i][j*m + n]``.
    ksum : Out([input i] of int8)
        ``Ks[k*m + i]``.
    """

    #: Cycles from ``read_row`` to the row.
    latency = 2

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        size, groups = config.m, config.max_groups
        square = data.ArrayLayout(data.ArrayLayout(signed(ACT_BITS), size), size)
        super().__init__({
            "write_valid": In(1),
            "write_row": In(ceil_log2(config.z_rows)),
            "write_j": In(range(max(2, groups))),
            "write_ksum": In(1),
            "rows": In(square),
            "read_row": In(ceil_log2(config.z_rows)),
            "z": Out(z_layout(config)),
            "ksum": Out(data.ArrayLayout(signed(ACT_BITS), size)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """A memory for each group of V's channels, and that of Ks."""
        word = config.m * ACT_BITS
        squares = ram(unsigned(config.m * word), config.z_rows) * config.max_groups
        return squares + ram(unsigned(word), config.z_rows)

    def elaborate(self, platform: object) -> Module:
        """A memory for each column group, and one for Ks."""
        m = Module()
        size, groups = self.config.m, self.config.max_groups
        depth = self.config.z_rows
        for j in range(groups):
            m.submodules[f"z_{j}"] = store = memory.Memory(shape=unsigned(size * size * ACT_BITS), depth=depth, init=[])
            write, read = store.write_port(), store.read_port(domain="sync")
            m.d.comb += [
                write.en.eq(self.write_valid & ~self.write_ksum & (self.write_j == j)),
                write.addr.eq(self.write_row),
                read.addr.eq(self.read_row),
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
            write.addr.eq(self.write_row),
            write.data.eq(self.rows[0]),
            read.addr.eq(self.read_row),
            read.en.eq(1),
        ]
        m.d.sync += data.View.as_value(self.ksum).eq(read.data)
        return m
