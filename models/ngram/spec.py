"""Define the options of an n-gram model; must not import numpy or torch, like `models/specs.py`, which exports them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..options import MOST_WHOLE, Name, NotNegative, Whole, options, require

Smoothing = Literal[
    "maximum_likelihood", "add_k", "jelinek_mercer", "witten_bell", "absolute_discounting", "katz",
    "kneser_ney", "modified_kneser_ney", "stupid_backoff",
]  # fmt: skip
"""Names of the smoothing methods; each is explained in its module in `training/ngram/smoothing/`."""
KNESER_NEY = ("modified_kneser_ney", "kneser_ney")
SCORES_ONLY = frozenset(("stupid_backoff",))
"""Methods that give scores to rank words, not probabilities: they have no nats and no perplexity."""


@options
class NGramSpec:
    """Options of an n-gram model.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        order: Longest n-gram; order 1 is the unigram model.
        smoothing: "modified_kneser_ney" (three discounts per order) or "kneser_ney" (one), the best ones; the other
            classical methods, for comparison: "absolute_discounting", "witten_bell", "jelinek_mercer", "katz",
            "add_k", "maximum_likelihood" (infinite perplexity), "stupid_backoff" (scores that rank, no perplexity).
        prune: Count thresholds per order, the last one repeated: n-grams with this count or less are dropped, as
            `lmplz --prune` does. The threshold of order 1 must be 0, because the vocabulary decides which words the
            model knows.
        min_documents: N-grams of two or more tokens are dropped if fewer reviews than this have them; 1 keeps all. With
            2, the model cannot be asked for what only one review says, but for what somebody has posted twice.
        entropy: After that, drop every n-gram that raises the perplexity by less than the factor 1 + this (1e-8 drops
            few, 1e-6 many); 0 keeps all.
    """

    kind: Literal["ngram"] = "ngram"
    name: Name = "kn5"
    vocabulary: str = "word"
    order: Annotated[Whole, Field(ge=1, le=6)] = 5
    smoothing: Smoothing = "modified_kneser_ney"
    prune: tuple[Annotated[Whole, Field(ge=0, le=MOST_WHOLE)], ...] = ()
    min_documents: Annotated[Whole, Field(ge=1, le=MOST_WHOLE)] = 1
    entropy: NotNegative = 0.0

    def __post_init__(self) -> None:
        rising = list(self.prune) == sorted(self.prune)
        allowed = f"at most {self.order} whole numbers, one per order, 0 or more, none below the one before it"
        require(rising and len(self.prune) <= self.order, "prune", self.prune, allowed)
        require(self.prune[:1] in ((), (0,)), "prune", self.prune, "0 at order 1: the vocabulary decides about words")
        scores = self.entropy > 0 and self.smoothing == "stupid_backoff"
        require(not scores, "entropy", self.entropy, "0 for stupid_backoff: scores have no entropy to prune by")
