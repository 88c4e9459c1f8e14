"""Hold the modules that fit ngram models."""
