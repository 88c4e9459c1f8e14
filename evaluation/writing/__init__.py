"""Audit generated reviews: novelty, exposure, personal data."""
