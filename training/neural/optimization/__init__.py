"""Optimisers, averages of weights, learning-rate schedules, clipping and the range test."""
