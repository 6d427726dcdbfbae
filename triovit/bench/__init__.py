"""Measurements that `make bench-quant` takes."""
