"""Stages of review classifiers: labels, fits, predictions on held-out reviews, comparison, gate and report."""
