"""Design-space exploration: which accelerators a board holds, how fast each is, and what bounds it (docs/exploration.md)."""

from sim.explore.page import write_page
from sim.explore.point import Point, Refused, Setting
from sim.explore.space import Space
from sim.explore.sweep import SCHEMA, Exploration, explore

__all__ = ["SCHEMA", "Exploration", "Point", "Refused", "Setting", "Space", "explore", "write_page"]
