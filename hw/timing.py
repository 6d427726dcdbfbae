"""How long everything takes: the latencies of the components, collected for the cycle model."""

from dataclasses import dataclass
from functools import cache

from hw.config import AcceleratorConfig
from hw.engines.dw_sequencer import DwSequencer
from hw.engines.mac_block import MacBlock
from hw.engines.rmac import RMacEngine
from hw.memory.act_buffer import ActBuffer
from hw.memory.paired_ring import PairedRing
from hw.memory.reader import Reader
from hw.memory.row_ring import RowRing
from hw.units.layer_norm import LayerNormCore
from hw.units.post_schedule import Schedule
from hw.units.row_sum import RowSum

#: Cycles from a dispatch strobe to the first beat that a sequencer can issue: the task register, the sequencer's own start. A DW
#: that has waited too short a time for its lanes (``Timing.dw_setup``) issues it later.
START = 2
#: Cycles from one dispatch to the next when nothing blocks: take, check, start.
DISPATCH = 3
#: Cycles from a push into a result queue to its taking by post-processing.
QUEUE = 2
#: Cycles from the retirement of a task's last result to the engine's ``busy`` being low: the count, then the engine's state.
IDLE = 2
#: Cycles from issuing a task's last beat to the start of an early one, and from the push of the last result of R-MAC's own.
OPEN = 1


@dataclass(frozen=True)
class Timing:
    """Latencies of one configuration, in cycles."""

    #: From issuing a sum's last beat to the push of its result, in each way through the engines.
    mat_result: int
    ln_result: int
    dw_result: int
    ktv_result: int
    pool_result: int
    #: From the push of a result to its being readable (and retired).
    written: int
    #: Lanes' coordinates of a DW task, ``<< src_fold``: it begins at once when it has waited so long with R-MAC's last DW done.
    dw_setup: int
    #: From issuing the last beat of a phase with LayerNorm's first pass to the last beat of the next phase, at least.
    ln_turn: int
    #: From issuing a beat to its read of the ring (and the release of rows).
    ring: int

    @property
    def mat_written(self) -> int:
        """From issuing a sum's last beat to its result being readable; MAT is no longer busy ``IDLE`` cycles later."""
        return self.mat_result + self.written

    @property
    def ktv_ended(self) -> int:
        """From issuing the last beat of K^T V to R-MAC no longer being busy."""
        return self.ktv_result + self.written + IDLE

    @property
    def step(self) -> int:
        """From a PW task's last beat to the first one of the task that reads its results."""
        return self.mat_written + IDLE + START

    @property
    def early_step(self) -> int:
        """Cycles without a beat between a task and one that starts early behind it."""
        return OPEN + START - 1

    @classmethod
    @cache
    def of(cls, config: AcceleratorConfig) -> "Timing":
        """Ask the components, once for each configuration: they have to be made for it."""
        macs, sums = MacBlock(config.n, config.m), RowSum(config)
        read, mat_read = ActBuffer.read_latency, Reader.latency
        schedule = Schedule(mat_read, PairedRing.latency)
        norm = LayerNormCore(config)
        timing = cls(
            mat_result=1 + mat_read + macs.tree_latency,
            ln_result=1 + mat_read + norm.latency,
            dw_result=1 + read + macs.own_latency + 1,
            ktv_result=1 + read + RMacEngine.ktv_latency(config),
            pool_result=1 + read + sums.latency + 1,
            written=QUEUE + schedule.write + ActBuffer.write_latency,
            dw_setup=DwSequencer.setup_cycles(config),
            ln_turn=1 + mat_read + norm.deviation_cycles + 1,
            ring=1 + read - RowRing.latency,
        )
        for asked in (macs, sums, norm, *norm.parts):
            asked._MustUse__silence = True  # only asked, never built
        return timing
