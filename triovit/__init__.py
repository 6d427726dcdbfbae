"""Trio-ViT: from a trained EfficientViT to bit-exact Verilog."""

__version__ = "0.1.0"
