"""ReviewLM: a data pipeline for review language models. This package is the foundation all rooms stand on."""

__version__ = "0.1.0"
