"""K^T V and the row sums of K, kept as the weights of Q Z and Q Ksum."""

from amaranth import Cat, Module, signed, unsigned
from amaranth.hdl import Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig
from hw.cost import Resources, ram
from quant.contract import ACT_BITS, LOW_BITS


def z_layout(config: AcceleratorConfig, element: object = signed(ACT_BITS)) -> data.ArrayLayout:
    """A row of Z as MAT's weights: ``[group j][lane n][input i]``."""
    return data.ArrayLayout(data.ArrayLayout(data.ArrayLayout(element, config.m), config.m), config.max_groups)


def ksum_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """A part of a row of Ks, which is never negative: ``[input i]``."""
    return data.ArrayLayout(unsigned(LOW_BITS), config.m)


class ZBuffer(wiring.Component):
    """``Z[i][j]`` and ``Ks[i]`` of some heads (integer contract, section 7), a row for each ``m`` values of ``i``.

    Written square by square as R-MAC completes them; read as a weight row: ``m`` input channels, all output channels. Both are
    kept in an upper and a lower part, as MAT multiplies what is wide.

    Members
    -------
    write_valid : In(1)
        Store ``rows`` and ``rows_low`` into row ``write_row``: ``Z[k*m + i][j*m + n] = rows[i][n]`` of column group
        ``j = write_j``; or, with ``write_ksum``, ``rows[0]`` and ``rows_low[0]`` as Ks.
    read_row : In
        The row, answered ``latency`` cycles later.
    z : Out([group j][lane n][input i] of int8), z_low : Out(the same of LOW_BITS unsigned)
        ``Z[k*m + i][j*m + n]``, or its two parts.
    ksum, ksum_low : Out([input i] of LOW_BITS unsigned)
        The two parts of ``Ks[k*m + i]``.
    """

    #: Cycles from ``read_row`` to the row.
    latency = 2

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        size, groups = config.m, config.max_groups

        def square(element: object) -> data.ArrayLayout:
            return data.ArrayLayout(data.ArrayLayout(element, size), size)

        super().__init__({
            "write_valid": In(1),
            "write_row": In(ceil_log2(config.z_rows)),
            "write_j": In(range(max(2, groups))),
            "write_ksum": In(1),
            "rows": In(square(signed(ACT_BITS))),
            "rows_low": In(square(unsigned(LOW_BITS))),
            "read_row": In(ceil_log2(config.z_rows)),
            "z": Out(z_layout(config)),
            "z_low": Out(z_layout(config, unsigned(LOW_BITS))),
            "ksum": Out(ksum_layout(config)),
            "ksum_low": Out(ksum_layout(config)),
        })

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """Two memories for each group of V's channels, and that of Ks."""
        square = config.m * config.m
        group = ram(unsigned(square * ACT_BITS), config.z_rows) + ram(unsigned(square * LOW_BITS), config.z_rows)
        return group * config.max_groups + ram(ksum_layout(config).size * 2, config.z_rows)

    def elaborate(self, platform: object) -> Module:
        """Two memories for each column group, and one for Ks."""
        m = Module()
        size = self.config.m
        for j in range(self.config.max_groups):
            here = self.write_valid & ~self.write_ksum & (self.write_j == j)
            for name, rows, z in ((f"z_{j}", self.rows, self.z), (f"z_low_{j}", self.rows_low, self.z_low)):
                by_lane = Cat(Value.cast(rows[i][n]) for n in range(size) for i in range(size))
                m.d.sync += Value.cast(z[j]).eq(self._stored(m, name, here, by_lane))
        parts = [*self.rows_low[0], *(high[:LOW_BITS] for high in self.rows[0])]
        found = self._stored(m, "ksum_store", self.write_valid & self.write_ksum, Cat(*parts))
        m.d.sync += Cat(Value.cast(self.ksum_low), Value.cast(self.ksum)).eq(found)
        return m

    def _stored(self, m: Module, name: str, write: Value, word: Value) -> Value:
        """A memory of rows that takes ``word`` with ``write``; what it read from ``read_row``."""
        m.submodules[name] = store = memory.Memory(shape=unsigned(len(word)), depth=self.config.z_rows, init=[])
        write_port, read_port = store.write_port(), store.read_port(domain="sync")
        m.d.comb += [
            write_port.en.eq(write),
            write_port.addr.eq(self.write_row),
            write_port.data.eq(word),
            read_port.addr.eq(self.read_row),
            read_port.en.eq(1),
        ]
        return read_port.data
