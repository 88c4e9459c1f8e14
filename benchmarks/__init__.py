"""Measure speed, memory, quality and correctness; run each script as `python -m benchmarks.FOLDER.NAME`."""
