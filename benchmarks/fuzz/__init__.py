"""Fuzz all code that reads files, settings or requests; `python -m benchmarks.fuzz --minutes 120 --seed 1`."""
