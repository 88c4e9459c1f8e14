"""Detect drift of new reviews and the ageing of models."""
