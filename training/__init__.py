"""Hold the modules that fit training models."""
