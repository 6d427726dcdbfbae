"""The report of a simulation and of a quantization: one HTML page that needs nothing else."""

from sim.report.data import Bounds, Event, LayerRow, RangeRow, ReportData, Wait, read_report
from sim.report.page import write_report, write_timeline
from sim.report.quantization import DivisorRow, EffectRow, ErrorRow, QuantizationData, read_quantization

__all__ = [
    "Bounds",
    "DivisorRow",
    "EffectRow",
    "ErrorRow",
    "Event",
    "LayerRow",
    "QuantizationData",
    "RangeRow",
    "ReportData",
    "Wait",
    "read_quantization",
    "read_report",
    "write_report",
    "write_timeline",
]
