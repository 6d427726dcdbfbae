"""Configurations that several tests have in common: arrays with more blocks than channels."""

from hw.config import TOY

FOUR_BY_EIGHT = TOY.with_(name="four-by-eight", l=8)
FOUR_BY_SIXTEEN = TOY.with_(name="four-by-sixteen", l=16)
