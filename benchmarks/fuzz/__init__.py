"""Apply random damage to all data from outside the program; `python -m benchmarks.fuzz --minutes 120 --seed 1`."""
