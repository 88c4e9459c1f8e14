"""ReviewLM: a data pipeline for review language models. This package is its command line."""

__version__ = "0.1.0"
