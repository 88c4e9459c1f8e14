"""Name the smoothing methods of n-gram models; nothing else is imported, so that a help page can list them at once."""

from __future__ import annotations

from typing import Literal

Smoothing = Literal[
    "maximum_likelihood",
    "add_k",
    "jelinek_mercer",
    "witten_bell",
    "absolute_discounting",
    "katz",
    "kneser_ney",
    "modified_kneser_ney",
    "stupid_backoff",
]
"""Names of the smoothing methods; each is explained in its module in `training/ngram/smoothing/`."""
KNESER_NEY = ("modified_kneser_ney", "kneser_ney")
SCORES_ONLY = frozenset(("stupid_backoff",))
"""Methods that give scores to rank words, not probabilities: they have no nats and no perplexity."""
