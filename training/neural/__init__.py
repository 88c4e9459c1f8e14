"""Train a network by truncated back-propagation: loop, step, state, checkpoints."""
