"""Boards: parts, clocks, resources, memory ports, programmers."""
