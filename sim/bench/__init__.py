"""Simulation of the emitted Verilog: the bench, what runs it, and what reads its traces."""
