"""Estimate smoothed n-gram probabilities, one method a module."""
