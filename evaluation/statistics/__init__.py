"""Estimate intervals and compare models: bootstrap, paired tests, slices."""
