"""What both engines keep of their task: the descriptor, whether it still runs, and the parameters it will give back."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR
from hw.interfaces import SHARED, entry_bits


class TaskState(wiring.Component):
    """A task from its start to the last result's retirement.

    Members
    -------
    start : In(1), task : In(DESCRIPTOR)
        A new task.
    running : Out(DESCRIPTOR)
        The task, from the cycle after ``start``.
    started : Out(1)
        Strobe in that cycle: the sequencers' start.
    sequencing : In(1)
        Beats remain to be issued.
    results_idle : In(1)
        No result is on its way.
    used : In(1), entry : In
        A beat or result uses this entry of the parameter ring.
    busy : Out(1)
        From the cycle after ``start`` until nothing is left to do.
    params_free : Out
        Rows of the parameter ring that the task used, in the cycle in which it ends, unless it leaves them to the next one.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "task": In(DESCRIPTOR),
                "running": Out(DESCRIPTOR),
                "started": Out(1),
                "sequencing": In(1),
                "results_idle": In(1),
                "used": In(1),
                "entry": In(entry_bits(config)),
                "busy": Out(1),
                "params_free": Out(range(config.param_rows + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """One register of each."""
        m = Module()
        m.d.sync += self.started.eq(self.start)
        finished = Signal()
        m.d.comb += finished.eq(self.busy & ~self.started & ~self.sequencing & self.results_idle)
        with m.If(self.start):
            m.d.sync += [self.running.eq(self.task), self.busy.eq(1)]
        with m.Elif(finished):
            m.d.sync += self.busy.eq(0)

        rows, row = Signal.like(self.params_free), Signal(entry_bits(self.config))
        shared = self.running.opcode.as_value().matches(*SHARED)
        m.d.comb += row.eq(Mux(shared, self.entry >> exact_log2(self.config.l), self.entry))
        with m.If(self.used & (row >= rows)):
            m.d.sync += rows.eq(row + 1)
        with m.If(finished):
            m.d.comb += self.params_free.eq(Mux(self.running.keep, 0, rows))
            m.d.sync += rows.eq(0)
        return m
