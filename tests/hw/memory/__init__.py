"""The activation buffers, the rings, the Z buffer."""
