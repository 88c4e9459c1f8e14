"""Define and load the configuration of a run: its sections and its presets."""
