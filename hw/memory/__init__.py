"""Buffers and rings."""
