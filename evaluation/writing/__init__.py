"""Audit generated reviews: novelty, exposure, diversity, star consistency."""
