"""Hold the modules that fit classification models."""
