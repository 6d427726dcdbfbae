"""Measurements of the quantizer: `make bench-quant` takes all of them and writes docs/results.md.

`plan` and `summary` list them, `jobs` takes one in a process of its own, `store` keeps what was measured with what it depends on,
`runner` takes what is not kept, and `results` renders the summary.
"""
