"""The accelerator in Amaranth, its configurations, its compiler and its Verilog."""
