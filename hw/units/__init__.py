"""The arithmetic units: post-processing, LayerNorm, sums and logarithms."""
