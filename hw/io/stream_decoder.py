"""Takes the weight stream apart and hands its rows to the rings."""

from enum import IntEnum

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig
from hw.interfaces import PARAM, SPLIT_BITS
from hw.memory.paired_ring import paired_write_layout
from hw.memory.row_banks import row_write_layout
from quant.contract import WEIGHT_BITS

#: Begins every packet.
MAGIC = 0x5754


class Kind(IntEnum):
    """What a packet carries."""

    MAT_WEIGHTS = 0
    RMAC_WEIGHTS = 1
    MAT_PARAMS = 2
    RMAC_PARAMS = 3


#: A packet's header, in the lowest bits of its beat.
HEADER = data.StructLayout({"magic": 16, "kind": 4, "lp": SPLIT_BITS, "reserved": 8, "rows": 16})

#: A channel's parameters as they lie in memory, lowest byte first.
RECORD = data.StructLayout({
    "bias": signed(32), "mult": 16, "shift": 8, "unused": 8, "three": 16, "zero": signed(16), "reserved": 32,
})


def weight_word(config: AcceleratorConfig) -> data.ArrayLayout:
    """A block's weights for one cycle: ``[lane][input]``."""
    return data.ArrayLayout(data.ArrayLayout(signed(WEIGHT_BITS), config.m), config.n)


def param_word(config: AcceleratorConfig) -> data.ArrayLayout:
    """The post-processing parameters of one channel group."""
    return data.ArrayLayout(PARAM, config.m)


class WeightDecoder(wiring.Component):
    """Packets of beats in, rows of words out (docs/architecture.md, section 4).

    A beat a cycle and no latency: a weight, and the last beat of a parameter word, go straight to their ring, and a full ring
    holds the stream up. A header takes one cycle.

    Members
    -------
    i : In(stream)
        The beats of the weight stream.
    mat_weights, rmac_weights : Out(stream of row_write_layout(weight_word))
        For the engines' weight rings.
    params : Out(stream of paired_write_layout(param_word))
        For the engines' parameter rings; R-MAC's is ring 1.
    error : Out(1)
        No valid header came where one should be. Nothing is taken any more until reset.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        weights = stream.Signature(row_write_layout(weight_word(config), config.l))
        params = stream.Signature(paired_write_layout(param_word(config), config.l))
        super().__init__({
            "i": In(stream.Signature(unsigned(8 * config.beat_bytes))),
            "mat_weights": Out(weights),
            "rmac_weights": Out(weights),
            "params": Out(params),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        """Header, then payload: the slots of a row as a mask that moves through the banks."""
        m = Module()
        config = self._config
        header = data.View(HEADER, self.i.payload[:HEADER.size])
        kind = Signal(range(len(Kind)))
        split = Signal(range(ceil_log2(config.l) + 1))
        first, mask = Signal(config.l), Signal(config.l)
        rows = Signal(HEADER["rows"].width)
        part = Signal(range(config.param_beats))
        done, whole, row_done = Signal(), Signal(), Signal()

        # A parameter word's earlier beats, in order; the last one needs no register.
        earlier = Signal(8 * config.beat_bytes * (config.param_beats - 1))
        records = data.View(data.ArrayLayout(RECORD, config.m), Cat(earlier, self.i.payload)[:RECORD.size * config.m])
        is_params = Signal()
        m.d.comb += [
            is_params.eq((kind == Kind.MAT_PARAMS) | (kind == Kind.RMAC_PARAMS)),
            whole.eq(~is_params | (part == config.param_beats - 1)),
            row_done.eq(whole & mask[-1]),
        ]

        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                slots = Signal(config.l)
                with m.Switch(header.lp):
                    for value in range(ceil_log2(config.l) + 1):
                        with m.Case(value):
                            m.d.comb += slots.eq((1 << (1 << value)) - 1)
                m.d.sync += [
                    kind.eq(header.kind), split.eq(header.lp), first.eq(slots), mask.eq(slots), rows.eq(header.rows), part.eq(0),
                ]
                with m.If(self.i.valid):
                    m.next = "PAYLOAD"
                    with m.If((header.magic != MAGIC) | (header.kind >= len(Kind)) | (slots == 0) | (header.rows == 0)):
                        m.next = "ERROR"
            with m.State("PAYLOAD"):
                ports = {
                    Kind.MAT_WEIGHTS: self.mat_weights, Kind.RMAC_WEIGHTS: self.rmac_weights,
                    Kind.MAT_PARAMS: self.params, Kind.RMAC_PARAMS: self.params,
                }
                for value, port in ports.items():
                    with m.If(kind == value):
                        m.d.comb += [port.valid.eq(self.i.valid & whole), self.i.ready.eq(port.ready | ~whole)]
                m.d.comb += done.eq(self.i.valid & self.i.ready)
                with m.If(done):
                    m.d.sync += part.eq(Mux(whole, 0, part + 1))
                    m.d.sync += earlier.eq(Cat(earlier, self.i.payload)[8 * config.beat_bytes:])
                with m.If(done & whole):
                    with m.Switch(split):
                        for value in range(ceil_log2(config.l) + 1):
                            with m.Case(value):
                                m.d.sync += mask.eq(mask << (1 << value))
                    with m.If(mask[-1]):
                        m.d.sync += [mask.eq(first), rows.eq(rows - 1)]
                        with m.If(rows == 1):
                            m.next = "HEADER"
            with m.State("ERROR"):
                m.d.comb += self.error.eq(1)

        for port in (self.mat_weights, self.rmac_weights, self.params):
            m.d.comb += [port.payload.banks.eq(mask), port.payload.last.eq(row_done)]
        for port in (self.mat_weights, self.rmac_weights):
            m.d.comb += port.payload.data.eq(self.i.payload)
        m.d.comb += self.params.payload.ring.eq(kind == Kind.RMAC_PARAMS)
        for channel in range(config.m):
            for name in PARAM.members:
                m.d.comb += self.params.payload.data[channel][name].eq(records[channel][name])
        return m
