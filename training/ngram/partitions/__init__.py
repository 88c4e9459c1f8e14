"""Fit Kneser–Ney models in partitions that stay with the workers of a cluster; see `fitting.py`."""
