"""Fit classifiers, and networks that give labels to texts or words."""
