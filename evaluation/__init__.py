"""Compute figures of models and their uncertainty, decide the gate, detect drift, write reports and plots."""
