"""The accelerator: datapath, control, DMA, and the two AXI ports of the emitted Verilog."""

from amaranth import Cat, Module, ResetInserter
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In, Out

from hw.axi.looped_reader import LoopedReader
from hw.axi.read_arbiter import ReadArbiter
from hw.axi.signature import AxiLite, AxiRead, AxiWrite
from hw.config import AcceleratorConfig
from hw.control.control_unit import ControlUnit
from hw.control.descriptor import DESCRIPTOR, Unit
from hw.control.fetch import DescriptorFetch
from hw.control.register_map import STALLS
from hw.core import TRACES, Core
from hw.cost import Resources
from hw.io.loader import Loader
from hw.io.store import Store
from hw.io.stream_decoder import WeightDecoder
from hw.memory.bank_buffer import BankBuffer

#: Bursts of weights that may be on their way: covers a memory latency of some hundred cycles at a beat a cycle.
WEIGHT_BURSTS = 8
#: What reads DRAM: program fetch, weights, loader.
_READERS = 3


def _ports(prefix: str, signature: wiring.Signature, *, flip: bool = False) -> dict[str, wiring.Member]:
    """A bus as single ports ``prefix_name``: the names that tools expect."""
    ports = {}
    for name, member in signature.members.items():
        out = (member.flow is Flow.Out) != flip
        ports[f"{prefix}_{name}"] = (Out if out else In)(member.shape)
    return ports


class Accelerator(wiring.Component):
    """The top of the emitted Verilog.

    Members
    -------
    s_axi_... : AXI4-Lite slave
        The registers (hw/control/register_map.py, docs/register-map.md).
    m_axi_... : AXI4 master
        Program, weights, picture and results; a beat is ``config.beat_bytes`` bytes.
    irq : Out(1)
        A run has ended, well or not.
    trace_... : Out
        What simulations watch: results as they are written, dispatches, which unit is busy, and why an engine waits. Left open
        on a board.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        self._core = Core(config)
        traces = {f"trace_{name}": Out(self._core.signature.members[f"trace_{name}"].shape) for name in TRACES}
        super().__init__(
            {
                **_ports("s_axi", AxiLite(), flip=True),
                **_ports("m_axi", AxiRead(config)),
                **_ports("m_axi", AxiWrite(config)),
                "irq": Out(1),
                **traces,
                "trace_dispatch_valid": Out(1),
                "trace_dispatch_tag": Out(DESCRIPTOR["tag"].shape),
                "trace_dispatch_unit": Out(len(Unit)),
                "trace_busy": Out(len(Unit)),
                "trace_stalls": Out(len(STALLS)),
            }
        )

    @staticmethod
    def resources(config: AcceleratorConfig) -> dict[str, Resources]:
        """What each part costs."""
        return {
            **Core.resources(config),
            "weight prefetch": LoopedReader.resources(config, WEIGHT_BURSTS * config.axi_burst),
            "loader": Loader.resources(config),
            "store": Store.resources(config, Core.store_latency),
            "program fetch": DescriptorFetch.resources(config),
            "read arbiter": ReadArbiter.resources(config, _READERS),
        }

    def elaborate(self, platform: object) -> Module:
        """Datapath, control and DMA, and their ports."""
        m = Module()
        config, core = self.config, self._core
        control, decoder = ControlUnit(config), WeightDecoder(config)
        weights = LoopedReader(config, WEIGHT_BURSTS * config.axi_burst)
        loader, store = Loader(config, BankBuffer.write_latency), Store(config, core.store_latency)
        arbiter = ReadArbiter(config, _READERS)
        m.submodules.control = control
        parts = {"core": core, "decoder": decoder, "weights": weights, "loader": loader, "store": store, "arbiter": arbiter}
        for name, part in parts.items():
            m.submodules[name] = ResetInserter(control.core_reset)(part)

        for prefix, port, names in (
            ("s_axi", control.bus, AxiLite()),
            ("m_axi", arbiter.axi, AxiRead(config)),
            ("m_axi", store.axi, AxiWrite(config)),
        ):
            for name, member in names.members.items():
                outside, inside = getattr(self, f"{prefix}_{name}"), getattr(port, name)
                drives_out = (member.flow is Flow.Out) != (prefix == "s_axi")
                m.d.comb += outside.eq(inside) if drives_out else inside.eq(outside)

        wiring.connect(m, control.axi, arbiter.clients[0])
        wiring.connect(m, weights.axi, arbiter.clients[1])
        wiring.connect(m, loader.axi, arbiter.clients[2])
        wiring.connect(m, weights.o, decoder.i)
        for ring in ("mat_weights", "rmac_weights", "params"):
            wiring.connect(m, getattr(decoder, ring), getattr(core, ring))
        wiring.connect(m, control.load, loader.unit)
        wiring.connect(m, control.store, store.unit)
        wiring.connect(m, store.read, core.store)
        weight_beat = weights.o.valid & weights.o.ready
        reasons = {
            "mat_stalled_weights": core.stall_mat_weights,
            "mat_stalled_results": core.stall_mat_results,
            "mat_stalled_pixels": core.stall_mat_progress,
            "rmac_stalled_weights": core.stall_rmac_weights,
            "rmac_stalled_results": core.stall_rmac_results,
            "load_stalled_memory": loader.starved,
            "weights_stalled_memory": weights.busy & weights.o.ready & ~weights.o.valid,
        }
        stalls = Cat(reasons[stall.name] for stall in STALLS)
        m.d.comb += [
            core.task.eq(control.mat.task),
            core.mat_start.eq(control.mat.start),
            core.rmac_start.eq(control.rmac.start),
            core.rmac_pending.eq(control.rmac_pending),
            control.mat.busy.eq(core.mat_busy),
            control.rmac.busy.eq(core.rmac_busy),
            control.mat_occupied.eq(core.mat_occupied),
            control.rmac_occupied.eq(core.rmac_occupied),
            control.mat_trailing.eq(core.mat_trailing),
            control.rmac_trailing.eq(core.rmac_trailing),
            core.load_valid.eq(loader.write.valid),
            core.load.eq(loader.write.payload),
            loader.write.ready.eq(core.load_ready),
            core.load_progress.eq(loader.progress),
            loader.consumes.eq(core.load_consumes),
            loader.consumed.eq(core.load_consumed),
            weights.start.eq(control.weights_start),
            weights.address.eq(control.weights_address),
            weights.beats.eq(control.weights_beats),
            weights.repeated.eq(control.weights_repeated),
            weights.passes.eq(control.weights_passes),
            weights.cancel.eq(control.cancel),
            loader.address.eq(control.input_address),
            loader.cancel.eq(control.cancel),
            store.address.eq(control.output_address),
            store.cancel.eq(control.cancel),
            control.bus_busy.eq(weights.busy | loader.reading | store.writing),
            control.read_error.eq(weights.error | loader.error),
            control.write_error.eq(store.error),
            control.bad_weights.eq(decoder.error),
            control.weight_beat.eq(weight_beat),
            control.stalls.eq(stalls),
            control.progress.eq(core.written | weight_beat | loader.beat | store.beat),
            self.irq.eq(control.irq),
        ]
        for name in TRACES:
            m.d.comb += Value.cast(getattr(self, f"trace_{name}")).eq(Value.cast(getattr(core, f"trace_{name}")))
        m.d.comb += [
            self.trace_dispatch_valid.eq(control.dispatched),
            self.trace_dispatch_tag.eq(control.tag),
            self.trace_dispatch_unit.eq(control.unit),
            *(
                self.trace_busy[n].eq(busy)
                for n, busy in enumerate((core.mat_busy, core.rmac_busy, control.load.busy, control.store.busy))
            ),
            self.trace_stalls.eq(stalls),
        ]
        return m
