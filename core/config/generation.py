"""Define the defaults of generation that the command line, the Python API, the flow and the server share."""

from __future__ import annotations

from models.options import Count, DrawSeed, NotNegative, Positive, Share, ShareAboveZero, WholeOrZero

__all__ = [
    "MAX_TOKENS", "SEED", "TEMPERATURE", "TOP_P", "Count", "DrawSeed", "NotNegative", "Positive", "Share",
    "ShareAboveZero", "WholeOrZero",
]  # fmt: skip

TEMPERATURE = 0.8
TOP_P = 0.95
MAX_TOKENS = 300
SEED = 1
