"""Define and load the configuration of a run: its sections, its presets, and the search space of a sweep."""
