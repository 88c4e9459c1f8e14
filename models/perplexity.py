"""Compute perplexity from nats."""

from __future__ import annotations

import math


def perplexity(nats: float) -> float:
    """Return exp(nats), limited to exp(700) so that the number stays finite."""
    return math.exp(min(nats, 700.0))
