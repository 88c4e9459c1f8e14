"""Define training callbacks: validate, save checkpoints, report, go back after a divergence (base: `callback.py`)."""
