"""Optimisers, learning-rate schedules, clipping and the range test."""
