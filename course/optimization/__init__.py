"""Choose how a network is trained: rules of optimisers, learning rates, and the loss of a larger fit."""
