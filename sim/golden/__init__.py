"""The golden model: docs/integer-contract.md in NumPy, and nothing else."""
