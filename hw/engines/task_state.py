"""What both engines keep of their tasks: the descriptor, whether it still runs, and the parameters it will give back."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR
from hw.interfaces import POST_FIELDS, POST_TASK, entry_bits, param_row


def most_pending(config: AcceleratorConfig) -> int:
    """Results that can be on their way to the buffers: in the queue, and in a pipeline of less than 32 cycles behind it."""
    return config.result_depth + 32


class TaskState(wiring.Component):
    """A task from its start to the last result's retirement, and the results that the task before it has on their way.

    A task may start when the one before it has issued its last beat (``occupied`` is low). From then on ``busy`` and
    ``results_idle`` are those of both. Results stay in order, so the older task's are the next ones to retire, and the first
    result of the younger task that leaves the queue tells that the older one needs no more parameters.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.
    depth : int
        Rows of the engine's parameter ring.

    Members
    -------
    start : In(1), task : In(DESCRIPTOR)
        A new task, only while not ``occupied``.
    running : Out(DESCRIPTOR)
        The task, from the cycle after ``start``.
    turn : Out(1), tasks : Out(ArrayLayout(POST_TASK, 2))
        Which of ``tasks`` it is: what post-processing needs of this task and of the one before.
    started : Out(1)
        Strobe in that cycle: the sequencers' start.
    sequencing : In(1)
        Beats remain to be issued.
    settled : In(1)
        What was issued does not hinder the next task on its way through the engine.
    pending : In, results_idle : In(1), retired : In(1)
        Results on their way, whether there are none, and that one of them has been written.
    left : In(1)
        A result of the current task leaves the queue.
    used : In(1), entry : In
        A beat or result uses this entry of the parameter ring.
    filled : In, params : Out
        Complete rows of the parameter ring; those behind the older task's, a cycle later.
    busy : Out(1)
        From the cycle after ``start`` until nothing is left to do.
    occupied : Out(1)
        From the cycle after ``start`` until the next task may start, at the latest when ``busy`` ends.
    trailing : Out(1)
        Results of the task before this one are on their way.
    params_free : Out
        Rows of the parameter ring that a task used, when it needs them no more.
    """

    def __init__(self, config: AcceleratorConfig, depth: int):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "task": In(DESCRIPTOR),
                "running": Out(DESCRIPTOR),
                "turn": Out(1),
                "tasks": Out(data.ArrayLayout(POST_TASK, 2)),
                "started": Out(1),
                "sequencing": In(1),
                "settled": In(1),
                "pending": In(range(most_pending(config) + 1)),
                "results_idle": In(1),
                "retired": In(1),
                "left": In(1),
                "used": In(1),
                "entry": In(entry_bits(config)),
                "filled": In(range(depth + 1)),
                "params": Out(range(depth + 1)),
                "busy": Out(1),
                "occupied": Out(1),
                "trailing": Out(1),
                "params_free": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """One register of each, and two of what post-processing needs."""
        m = Module()
        m.d.sync += self.started.eq(self.start)
        finished, follows = Signal(), Signal()
        older = Signal.like(self.pending)
        m.d.comb += [
            finished.eq(self.busy & ~self.started & ~self.sequencing & self.results_idle),
            follows.eq(self.start & self.busy & ~finished),
            self.occupied.eq(self.busy & (self.started | self.sequencing | ~self.settled | self.trailing)),
            self.trailing.eq(older != 0),
        ]
        with m.If(self.start):
            m.d.sync += [self.running.eq(self.task), self.busy.eq(1), self.turn.eq(~self.turn)]
            for turn in range(2):
                with m.If(self.turn != turn):
                    m.d.sync += [self.tasks[turn][field].eq(self.task[field]) for field in POST_FIELDS]
        with m.Elif(finished):
            m.d.sync += self.busy.eq(0)
        with m.If(follows):
            m.d.sync += older.eq(self.pending - self.retired)
        with m.Elif(self.retired & self.trailing):
            m.d.sync += older.eq(older - 1)

        rows, row, held = Signal.like(self.params_free), Signal(entry_bits(self.config)), Signal.like(self.params_free)
        m.d.comb += row.eq(param_row(self.running.opcode, self.entry))
        # The last beat is used in the cycle in which the next task may start.
        rows_used = Signal.like(rows)
        m.d.comb += rows_used.eq(Mux(self.used & (row >= rows), row + 1, rows))
        m.d.sync += rows.eq(rows_used)
        m.d.sync += self.params.eq(self.filled - held)
        # The next task may start in the very cycle in which the older one's results are gone and its rows are given back.
        back = Signal.like(held)
        m.d.comb += [
            back.eq(Mux(self.left | ~self.trailing, held, 0)),
            self.params_free.eq(back + Mux(finished, rows, 0)),
        ]
        m.d.sync += held.eq(held - back)
        with m.If(finished | follows):
            m.d.sync += rows.eq(0)
        with m.If(follows):
            m.d.sync += held.eq(rows_used)
        return m
