"""Fit models, each in child processes."""
