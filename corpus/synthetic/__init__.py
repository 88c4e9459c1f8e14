"""Generate synthetic reviews from a probabilistic grammar, and plant canaries."""
