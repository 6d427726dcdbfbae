"""Measurements: of the quantizer by `make bench-quant`, of the accelerator by `make bench`; both write docs/results.md.

What the benches have in common: `store` keeps what was measured with what it depends on, `runner` takes what is not kept, each
in a process of its own, `command` is the command line around it, `tables` and `page` make the text. The quantizer's rows are
listed by `plan` and `summary`, taken by `jobs` and rendered by `results`; the accelerator's modules of the same names are in
`hardware`.
"""
