"""The queue between an engine and post-processing, with the credits that keep it from overflowing."""

from amaranth import Module
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig
from hw.cost import Resources, buffered_fifo
from hw.engines.task_state import most_pending
from hw.interfaces import result_layout


class ResultQueue(wiring.Component):
    """Results on their way to post-processing.

    An engine's pipeline cannot stop, so it reserves room when it issues the beat that will end a sum (``issue``), and the
    result always finds it.
    The same counts tell when everything that was issued has been written.

    Members
    -------
    issue : In
        Results reserved in this cycle.
    space : Out
        Results that may still be reserved.
    push : In(1), payload : In(result_layout)
        A result, some cycles after its ``issue``.
    retired : In(1)
        One result has reached its buffer.
    pending : Out, idle : Out(1)
        Results issued and not yet written; whether there are none.
    o : Out(stream.Signature(result_layout))
        To post-processing.
    """

    def __init__(self, config: AcceleratorConfig, most_issued: int = 1):
        self.config = config
        layout = result_layout(config)
        super().__init__(
            {
                "issue": In(range(most_issued + 1)),
                "space": Out(range(config.result_depth + 1), init=config.result_depth),
                "push": In(1),
                "payload": In(layout),
                "retired": In(1),
                "pending": Out(range(most_pending(config) + 1)),
                "idle": Out(1),
                "o": Out(stream.Signature(layout)),
            }
        )

    @staticmethod
    def resources(config: AcceleratorConfig) -> Resources:
        """The queue."""
        return buffered_fifo(result_layout(config), config.result_depth)

    def elaborate(self, platform: object) -> Module:
        """A FIFO and two counts."""
        m = Module()
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=self.payload.shape().size, depth=self.config.result_depth)
        popped = self.o.valid & self.o.ready
        m.d.comb += [
            queue.w_data.eq(self.payload),
            queue.w_en.eq(self.push),
            data.View.as_value(self.o.p).eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.idle.eq(self.pending == 0),
        ]
        m.d.sync += [
            self.space.eq(self.space - self.issue + popped),
            self.pending.eq(self.pending + self.issue - self.retired),
        ]
        return m
