"""The configuration of a run: its sections, presets and search space."""
