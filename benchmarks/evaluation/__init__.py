"""Measure scoring, and simulate how often intervals and the gate err."""
