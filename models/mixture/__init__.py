"""Combine several language models into one: mixtures with fixed weights or weights by context."""
