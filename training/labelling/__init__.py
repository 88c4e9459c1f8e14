"""Hold the modules that fit labelling models."""
