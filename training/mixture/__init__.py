"""Hold the modules that fit mixture models."""
