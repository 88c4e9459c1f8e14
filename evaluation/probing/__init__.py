"""Probe what a model knows: grammar, memory, use of context."""
