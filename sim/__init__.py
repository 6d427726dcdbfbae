"""The golden model, the cycle model and the simulation of the emitted Verilog."""
