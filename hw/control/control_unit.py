"""Registers, fetch, dispatch, watchdog and counters together: a run from start to done or error."""

from amaranth import Cat, Module, ResetInserter, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi.linear_reader import BEATS_BITS
from hw.axi.lite import RegisterFile
from hw.axi.looped_reader import PASSES_BITS
from hw.axi.signature import AxiLite, AxiRead
from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, Opcode, Unit
from hw.control.dispatch import Dispatch, TaskSignature
from hw.control.errors import ErrorCode
from hw.control.fetch import DescriptorFetch
from hw.control.register_map import STALLS, register_map
from hw.control.watchdog import Watchdog


class ControlUnit(wiring.Component):
    """The host's view of the accelerator, and the owner of a run.

    A start clears status and counters and begins to read program and weights. When END is reached, or something fails, or
    the host asks for a soft reset, the run ends: status and interrupt are set at once, ``cancel`` makes all readers and
    writers finish what the bus owes them, and when ``bus_busy`` has fallen ``core_reset`` clears engines, rings and streams,
    so that the next start finds everything as after power-up. STATUS.busy falls then. A bus that never answers keeps it high:
    only a reset of the whole fabric helps there, and STATUS.error tells.

    Members
    -------
    bus : In(AxiLite)
        The registers.
    irq : Out(1)
        Level: enabled, and done or error.
    axi : Out(AxiRead)
        The descriptor fetch.
    mat, rmac, load, store : Out(TaskSignature)
        The units.
    mat_occupied, rmac_occupied, mat_trailing, rmac_trailing : In(1), rmac_pending : Out(1)
        As of :class:`hw.control.dispatch.Dispatch`.
    weights_start, weights_address, weights_beats, weights_repeated, weights_passes : Out
        For the reader of the weight stream; the strobe comes one cycle after the start was written.
    input_address, output_address : Out
        For LOAD and STORE, stable during a run.
    cancel : Out(1)
        Level for the ``cancel`` of every reader and writer.
    bus_busy : In(1)
        Any reader or writer outside is busy.
    core_reset : Out(1)
        Reset, for one cycle, all units, rings and streams, readers and writers included: no transfer is under way then.
    read_error, write_error, bad_weights : In(1)
        Levels, or strobes, that end the run.
    progress : In(1)
        Strobe: a result was written, or a beat was read or written. Starts of tasks and descriptors are counted here.
    weight_beat : In(1)
        Strobe: the decoder took a beat.
    stalls : In(len(STALLS))
        Levels: why units with work do not go on, as :data:`hw.control.register_map.STALLS` lists them. Counted.
    dispatched, tag, unit : Out
        As of :class:`hw.control.dispatch.Dispatch`, for traces.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "bus": In(AxiLite()),
            "irq": Out(1),
            "axi": Out(AxiRead(config)),
            "mat": Out(TaskSignature()),
            "rmac": Out(TaskSignature()),
            "mat_occupied": In(1),
            "rmac_occupied": In(1),
            "mat_trailing": In(1),
            "rmac_trailing": In(1),
            "rmac_pending": Out(1),
            "load": Out(TaskSignature()),
            "store": Out(TaskSignature()),
            "weights_start": Out(1),
            "weights_address": Out(config.axi_address_bits),
            "weights_beats": Out(BEATS_BITS),
            "weights_repeated": Out(BEATS_BITS),
            "weights_passes": Out(PASSES_BITS),
            "input_address": Out(config.axi_address_bits),
            "output_address": Out(config.axi_address_bits),
            "cancel": Out(1),
            "bus_busy": In(1),
            "core_reset": Out(1),
            "read_error": In(1),
            "write_error": In(1),
            "bad_weights": In(1),
            "progress": In(1),
            "weight_beat": In(1),
            "stalls": In(len(STALLS)),
            "dispatched": Out(1),
            "tag": Out(DESCRIPTOR["tag"].shape),
            "unit": Out(len(Unit)),
        })

    def elaborate(self, platform: object) -> Module:
        """The run's state machine around the parts."""
        m = Module()
        m.submodules.registers = registers = RegisterFile(register_map(self._config))
        fetch, dispatch = DescriptorFetch(self._config), Dispatch(self._config)
        m.submodules.fetch = ResetInserter(self.core_reset)(fetch)
        m.submodules.dispatch = ResetInserter(self.core_reset)(dispatch)
        m.submodules.watchdog = watchdog = Watchdog()

        wiring.connect(m, wiring.flipped(self.bus), registers.bus)
        wiring.connect(m, fetch.axi, wiring.flipped(self.axi))
        wiring.connect(m, fetch.o, dispatch.i)
        for name in ("mat", "rmac", "load", "store"):
            wiring.connect(m, getattr(dispatch, name), wiring.flipped(getattr(self, name)))
        m.d.comb += [
            fetch.address.eq(Cat(registers.program_addr_lo, registers.program_addr_hi)),
            fetch.count.eq(registers.program_count),
            fetch.cancel.eq(self.cancel),
            self.weights_address.eq(Cat(registers.weights_addr_lo, registers.weights_addr_hi)),
            self.weights_beats.eq(registers.weights_beats),
            self.weights_repeated.eq(registers.weights_repeated),
            self.weights_passes.eq(registers.weights_passes),
            self.input_address.eq(Cat(registers.input_addr_lo, registers.input_addr_hi)),
            self.output_address.eq(Cat(registers.output_addr_lo, registers.output_addr_hi)),
            watchdog.limit.eq(registers.watchdog),
            watchdog.progress.eq(self.progress | dispatch.dispatched | (fetch.o.valid & fetch.o.ready)),
            self.irq.eq(registers.ctrl_irq_enable & (registers.status_done | registers.status_error)),
            self.dispatched.eq(dispatch.dispatched),
            dispatch.mat_occupied.eq(self.mat_occupied),
            dispatch.rmac_occupied.eq(self.rmac_occupied),
            dispatch.mat_trailing.eq(self.mat_trailing),
            dispatch.rmac_trailing.eq(self.rmac_trailing),
            self.rmac_pending.eq(dispatch.rmac_pending),
            self.tag.eq(dispatch.tag),
            self.unit.eq(dispatch.unit),
        ]

        failed = Signal(ErrorCode)
        m.d.comb += failed.eq(dispatch.error)
        with m.If(dispatch.error == ErrorCode.NONE):
            causes = (
                (fetch.error | self.read_error, ErrorCode.AXI_READ),
                (self.write_error, ErrorCode.AXI_WRITE),
                (self.bad_weights, ErrorCode.BAD_WEIGHTS),
                (watchdog.expired, ErrorCode.WATCHDOG),
            )
            # The first cause counts: it may have led to the later ones.
            for cause, code in reversed(causes):
                with m.If(cause):
                    m.d.comb += failed.eq(code)

        running, forget = Signal(), Signal()
        m.d.comb += [registers.status_done_clear.eq(forget), registers.status_error_clear.eq(forget)]
        m.d.comb += watchdog.enable.eq(running)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(registers.ctrl_soft_reset):
                    m.d.comb += forget.eq(1)
                    m.next = "DRAIN"
                with m.Elif(registers.ctrl_start):
                    m.d.comb += [forget.eq(1), fetch.start.eq(1), self.weights_start.eq(1)]
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [running.eq(1), registers.status_busy.eq(1)]
                with m.If(registers.ctrl_soft_reset):
                    m.d.comb += forget.eq(1)
                    m.next = "DRAIN"
                with m.Elif(failed != ErrorCode.NONE):
                    m.d.comb += registers.status_error_set.eq(1)
                    m.d.sync += [registers.error_code.eq(failed), registers.error_index.eq(dispatch.index)]
                    m.next = "DRAIN"
                with m.Elif(dispatch.done):
                    m.d.comb += registers.status_done_set.eq(1)
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += [self.cancel.eq(1), registers.status_busy.eq(1), forget.eq(registers.ctrl_soft_reset)]
                with m.If(~self.bus_busy & ~fetch.busy):
                    m.next = "RESET"
            with m.State("RESET"):
                m.d.comb += [self.cancel.eq(1), self.core_reset.eq(1), registers.status_busy.eq(1)]
                m.d.comb += forget.eq(registers.ctrl_soft_reset)
                m.next = "IDLE"

        counted = self._counted(m, registers, dispatch)
        counters = {
            "cycles": running,
            "mat_busy": self.mat.busy & counted["MAT"],
            "rmac_busy": dispatch.rmac_busy & counted["R-MAC"],
            "load_busy": self.load.busy & counted["LOAD"],
            "store_busy": self.store.busy & counted["STORE"],
            "weight_beats_read": self.weight_beat,
            **{stall.name: self.stalls[index] & counted.get(stall.unit, 1) for index, stall in enumerate(STALLS)},
        }
        for name, happens in counters.items():
            port = getattr(registers, name)
            with m.If(running & happens):
                m.d.sync += port.eq(port + 1)
        with m.If(forget):
            m.d.sync += [getattr(registers, name).eq(0) for name in counters]
            m.d.sync += [registers.error_code.eq(ErrorCode.NONE), registers.error_index.eq(0)]
        return m

    def _counted(self, m: Module, registers: RegisterFile, dispatch: Dispatch) -> dict[str, Value]:
        """For each unit whether what it does is counted: all of it, or the tasks of one layer."""
        task = dispatch.mat.task
        joint = dispatch.mat.start & (task.opcode == Opcode.PW) & task.joint
        starts = {
            "MAT": dispatch.mat.start,
            "R-MAC": dispatch.rmac.start | joint,
            "LOAD": dispatch.load.start,
            "STORE": dispatch.store.start,
        }
        counted: dict[str, Value] = {}
        for unit, start in starts.items():
            mine = Signal(name=f"counted_{unit.replace('-', '').lower()}")
            with m.If(start):
                m.d.sync += mine.eq(~registers.counted_layer_only | (dispatch.tag == registers.counted_layer_tag))
            counted[unit] = mine
        return counted
