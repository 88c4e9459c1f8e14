"""Estimate intervals and compare models: bootstrap, paired tests, scaling laws, slices."""
