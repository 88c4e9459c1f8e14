"""Decide what a home folder must keep, and remove the rest."""
