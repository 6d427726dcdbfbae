"""Measurements of the accelerator: `make bench` takes them and writes its part of docs/results.md (docs/benchmarks.md).

`plan` and `summary` list them, `jobs` takes one in a process of its own, `runner` says what each depends on, `goals` sets them
beside what the accelerator is to reach, `results` renders the summary, and `baseline` tells when something has become slower or
larger.
"""
