"""Starts the tasks of a program, in order, on the units that run them."""

from collections.abc import Iterable

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, MAGIC, MAX_FOLD, Opcode, Unit
from hw.control.errors import ErrorCode
from hw.control.register_map import INDEX_BITS

#: The unit that runs a task.
RUNS_ON = {
    Opcode.LOAD: Unit.LOAD,
    Opcode.STORE: Unit.STORE,
    Opcode.PW: Unit.MAT,
    Opcode.QZ: Unit.MAT,
    Opcode.DIV: Unit.MAT,
    Opcode.LN: Unit.MAT,
    Opcode.DW: Unit.RMAC,
    Opcode.KTV: Unit.RMAC,
    Opcode.POOL: Unit.RMAC,
}

#: Tasks that loop over ``tiles``, over ``depth``, over pixels.
USES_TILES = (Opcode.PW, Opcode.QZ, Opcode.DIV, Opcode.DW, Opcode.KTV, Opcode.POOL)
USES_DEPTH = (Opcode.PW, Opcode.QZ, Opcode.DIV, Opcode.LN)
USES_PIXELS = (Opcode.PW, Opcode.QZ, Opcode.DIV, Opcode.DW, Opcode.KTV, Opcode.STORE)


class TaskSignature(wiring.Signature):
    """How a unit is given its task, seen from the dispatcher.

    Members
    -------
    start : Out(1)
        Strobe, only when ``busy`` is low.
    task : Out(DESCRIPTOR)
        The task, valid with ``start``.
    busy : In(1)
        From the cycle after ``start`` until all results are where they belong.
    """

    def __init__(self) -> None:
        super().__init__({"start": Out(1), "task": Out(DESCRIPTOR), "busy": In(1)})


class Dispatch(wiring.Component):
    """Takes descriptors, checks them, and starts each when its unit and the units of its wait mask are idle.

    A descriptor is taken, checked a cycle later, and can start its unit the cycle after; while it waits for units it is already
    checked, so a task starts in the very cycle in which the last unit it waits for reports idle, or that it can take another
    task where results that are still on their way do not matter (``early``). A joint PW waits for R-MAC
    whatever its mask says, and R-MAC counts as busy as long as MAT runs it; only MAT gets the ``start``.

    Members
    -------
    i : In(stream of DESCRIPTOR)
        The program.
    mat, rmac, load, store : Out(TaskSignature)
        The units.
    mat_occupied, rmac_occupied : In(1)
        The engine cannot take another task yet; a task waits for this rather than ``busy`` where its ``early`` says so.
    mat_trailing, rmac_trailing : In(1)
        The engine's tasks before its last one have not all ended; a task waits for this where its ``past`` says so.
    rmac_busy : Out(1)
        R-MAC has a task, its own or a joint one.
    rmac_pending : Out(1)
        ``rmac.task`` is a DW that has been checked and waits; still high in the cycle of its start.
    done : Out(1)
        END was taken and all units are idle; stays until reset, as ``error`` does.
    error : Out(ErrorCode)
        Why the program was given up, or NONE. Nothing is taken or started any more.
    index : Out
        Number of the descriptor last taken.
    dispatched : Out(1)
        Strobe: a task starts in this cycle, or END is reached.
    tag, unit : Out
        With ``dispatched``: the descriptor's tag and the bit of :class:`hw.control.descriptor.Unit` that was started (0 for END).
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(DESCRIPTOR)),
            "mat": Out(TaskSignature()),
            "rmac": Out(TaskSignature()),
            "load": Out(TaskSignature()),
            "store": Out(TaskSignature()),
            "mat_occupied": In(1),
            "rmac_occupied": In(1),
            "mat_trailing": In(1),
            "rmac_trailing": In(1),
            "rmac_busy": Out(1),
            "rmac_pending": Out(1),
            "done": Out(1),
            "error": Out(ErrorCode),
            "index": Out(INDEX_BITS),
            "dispatched": Out(1),
            "tag": Out(DESCRIPTOR["tag"].shape),
            "unit": Out(len(Unit)),
        })

    def elaborate(self, platform: object) -> Module:
        """Take, check, wait and start."""
        m = Module()
        task = Signal(DESCRIPTOR)
        taken = Signal(INDEX_BITS)
        joint_runs = Signal()
        ports = {Unit.MAT: self.mat, Unit.RMAC: self.rmac, Unit.LOAD: self.load, Unit.STORE: self.store}
        busy, own, needed, blocked = Signal(len(Unit)), Signal(len(Unit)), Signal(len(Unit)), Signal()
        joint, occupied, passes = Signal(), Signal(len(task.early)), Signal(len(Unit))
        m.d.comb += [
            self.rmac_busy.eq(self.rmac.busy | (joint_runs & self.mat.busy)),
            joint.eq((task.opcode == Opcode.PW) & task.joint),
            needed.eq(task.wait | own | Mux(joint, Const(Unit.RMAC, len(Unit)), 0)),
            occupied.eq(Cat(self.mat_occupied, self.rmac_occupied | (joint_runs & self.mat_occupied))),
            passes.eq(task.early & ~occupied),
            blocked.eq((busy & needed & ~passes).any() | (task.past & Cat(self.mat_trailing, self.rmac_trailing)).any()),
            self.tag.eq(task.tag),
            self.unit.eq(own),
        ]
        for bit, (unit, port) in enumerate(ports.items()):
            m.d.comb += [
                port.task.eq(task),
                port.start.eq(self.dispatched & own[bit]),
                busy[bit].eq(self.rmac_busy if unit is Unit.RMAC else port.busy),
            ]
        with m.Switch(task.opcode):
            for opcode, unit in RUNS_ON.items():
                with m.Case(opcode):
                    m.d.comb += own.eq(unit)
        with m.If(self.mat.start):
            m.d.sync += joint_runs.eq(joint)

        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [task.eq(self.i.payload), self.index.eq(taken), taken.eq(taken + 1)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "WAIT"
                for wrong, code in self._checks(task):
                    with m.If(wrong):
                        m.d.sync += self.error.eq(code)
                        m.next = "STOP"
            with m.State("WAIT"):
                m.d.comb += self.rmac_pending.eq(task.opcode == Opcode.DW)
                with m.If((task.opcode == Opcode.END) & ~busy.any()):
                    m.d.comb += self.dispatched.eq(1)
                    m.d.sync += self.done.eq(1)
                    m.next = "STOP"
                with m.Elif((task.opcode != Opcode.END) & ~blocked):
                    m.d.comb += self.dispatched.eq(1)
                    m.next = "TAKE"
            with m.State("STOP"):
                pass
        return m

    def _checks(self, task: object) -> Iterable[tuple[Value, ErrorCode]]:
        """What is wrong with a descriptor; a later one of two counts."""
        config, raw = self._config, Value.cast(task.opcode)

        def is_one(opcodes: Iterable[Opcode]) -> Value:
            return raw.matches(*opcodes)

        top = ceil_log2(config.l)
        yield is_one(RUNS_ON) & ((task.lp > top) | (task.src_skew > top)), ErrorCode.BAD_FIELD
        yield is_one(RUNS_ON) & ((task.src_fold > MAX_FOLD) | (task.dst_fold > MAX_FOLD)), ErrorCode.BAD_FIELD
        for ring, fold in ((task.src_ring, task.src_fold), (task.dst_ring, task.dst_fold)):
            yield is_one(RUNS_ON) & (ring != 0) & (ring < fold), ErrorCode.BAD_FIELD
        yield is_one(USES_TILES) & (task.tiles == 0), ErrorCode.BAD_FIELD
        yield (raw == Opcode.KTV.value) & (task.heads == 0), ErrorCode.BAD_FIELD
        yield is_one(RUNS_ON) & (task.res_skew > top), ErrorCode.BAD_FIELD
        yield is_one(USES_DEPTH) & (task.depth == 0), ErrorCode.BAD_FIELD
        yield is_one(USES_PIXELS) & (task.px_end <= task.px_start), ErrorCode.BAD_FIELD
        yield (raw == Opcode.POOL.value) & (task.px_end == 0), ErrorCode.BAD_FIELD
        yield (raw == Opcode.DW.value) & (~task.kernel.matches(3, 5) | ~task.stride.matches(1, 2)), ErrorCode.BAD_FIELD
        bad_width = (task.w_in < 4) | task.w_in[0] | (task.w_in > config.max_picture_width)
        yield (raw == Opcode.LOAD.value) & (bad_width | (task.h_in == 0) | (task.stride != 2)), ErrorCode.BAD_FIELD
        yield (raw == Opcode.STORE.value) & (task.dst_cg_end == 0), ErrorCode.BAD_FIELD
        yield raw > max(opcode.value for opcode in Opcode), ErrorCode.BAD_OPCODE
        yield task.magic != MAGIC, ErrorCode.BAD_MAGIC
