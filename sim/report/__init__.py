"""The report of a simulation: one HTML page that needs nothing else."""

from sim.report.data import Bounds, Event, LayerRow, RangeRow, ReportData, read_report
from sim.report.page import write_report

__all__ = ["Bounds", "Event", "LayerRow", "RangeRow", "ReportData", "read_report", "write_report"]
