"""Fit classifiers."""
