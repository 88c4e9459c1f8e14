"""Random damage to everything that comes from outside; `python -m benchmarks.fuzz --minutes 120 --seed 1`."""
