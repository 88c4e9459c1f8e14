"""Corpora that an estimator meets seldom, as documents of token ids: small, empty, monotonous."""

from __future__ import annotations

V = 24
"""Entries of the vocabulary that all of them use."""
