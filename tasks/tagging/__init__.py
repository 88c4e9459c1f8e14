"""Fit and score models that give every word a tag."""
