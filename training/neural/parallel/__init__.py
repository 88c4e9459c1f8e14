"""Train one network data-parallel in several processes."""
