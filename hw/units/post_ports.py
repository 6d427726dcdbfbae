"""The ports that post-processing alone has."""

from amaranth import signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig
from hw.interfaces import PARAM, ROW_BITS, words
from quant.contract import ACT_BITS, LOW_BITS


class ParamReadSignature(wiring.Signature):
    """A read of the parameter rings.

    Members
    -------
    en : Out(1)
        A request; the row must be in the ring.
    rmac : Out(1)
        The engine whose ring is read: R-MAC, else MAT.
    offset : Out
        The row, counted from the task's first.
    row : In(words(PARAM))
        The parameters, ``param_latency`` cycles later.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__({
            "en": Out(1),
            "rmac": Out(1),
            "offset": Out(ceil_log2(config.rmac_param_rows)),
            "row": In(words(config, PARAM)),
        })


class SecondWriteSignature(wiring.Signature):
    """What a result's second write does not share with its first.

    Members
    -------
    valid : Out(1)
        The write happens: mask, pixel, channel group, rows, split and words are those of the first write, in the same cycle.
    base : Out(ROW_BITS)
        First row of the second tensor.
    """

    def __init__(self) -> None:
        super().__init__({"valid": Out(1), "base": Out(ROW_BITS)})


class ZWriteSignature(wiring.Signature):
    """A write into the buffer of K^T V.

    Members
    -------
    valid : Out(1)
        The write happens.
    row : Out
        Row of the buffer: ``m`` of K's channels.
    j : Out
        Group of V's channels.
    ksum : Out(1)
        ``rows[0]`` is Ks of the row's channels; otherwise ``rows[i]`` are those of its channel ``i`` in Z, columns of group
        ``j``.
    rows : Out(ArrayLayout(ArrayLayout(signed(ACT_BITS), m), m))
        The values, or the upper parts of what is wide.
    rows_low : Out(ArrayLayout(ArrayLayout(unsigned(LOW_BITS), m), m))
        The lower parts of what is wide; read by nobody otherwise.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__({
            "valid": Out(1),
            "row": Out(ceil_log2(config.z_rows)),
            "j": Out(range(max(2, config.max_groups))),
            "ksum": Out(1),
            "rows": Out(data.ArrayLayout(data.ArrayLayout(signed(ACT_BITS), config.m), config.m)),
            "rows_low": Out(data.ArrayLayout(data.ArrayLayout(unsigned(LOW_BITS), config.m), config.m)),
        })
