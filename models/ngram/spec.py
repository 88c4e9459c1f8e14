"""Define the options of an n-gram model; must not import numpy or torch, like `models/specs.py`, which exports them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..options import (
    MOST_WHOLE,
    Name,
    NotNegative,
    Number,
    OnlyWith,
    OrNone,
    Positive,
    Whole,
    options,
    require,
)

Smoothing = Literal[
    "maximum_likelihood", "add_k", "jelinek_mercer", "witten_bell", "absolute_discounting", "katz",
    "kneser_ney", "modified_kneser_ney", "stupid_backoff",
]  # fmt: skip
"""Names of the smoothing methods; each is explained in its module in `training/ngram/smoothing/`."""
KNESER_NEY = ("modified_kneser_ney", "kneser_ney")
SCORES_ONLY = frozenset(("stupid_backoff",))
"""Methods that give scores to rank words, not probabilities: they have no nats and no perplexity."""
PerOrder = tuple[Annotated[Number, Field(gt=0, lt=1)], ...]


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
        kenlm_exact: Kneser–Ney: reproduce lmplz's counts of counts to the last digit, with its end-of-stream quirk.
        fallback: Discounts (D1, D2, D3+) of an order whose counts of counts do not determine them; methods with one
            discount take D1.
        k: For add_k: added count of every word, 1 is Laplace's; None chooses on validation text.
        weights: For jelinek_mercer: λ of orders 1 … N; None tunes them on validation text.
        discounts: For absolute_discounting: D of orders 1 … N; None takes them from the counts of counts.
        cut: For katz: the largest count that is discounted.
        alpha: For stupid_backoff: the factor for every dropped word of context.
        prune: Count thresholds per order, the last one repeated: n-grams with this count or less are dropped, as
            `lmplz --prune` does. The threshold of order 1 must be 0, because the vocabulary decides which words the
            model knows.
        min_documents: N-grams of two or more tokens are dropped if fewer reviews than this have them; 1 keeps all. With
            2, the model cannot be asked for what only one review says, but for what somebody has posted twice.
        entropy: After that, drop every n-gram that raises the perplexity by less than the factor 1 + this (1e-8 drops
            few, 1e-6 many); 0 keeps all.
        interpolate_unigrams: Kneser–Ney: share the discounted probability of the unigrams equally among all entries;
            false gives all of it to `<unk>`, as SRILM and `lmplz --interpolate_unigrams 0` do.
    """

    kind: Literal["ngram"] = "ngram"
    name: Name = "kn5"
    vocabulary: str = "word"
    order: Annotated[Whole, Field(ge=1, le=6)] = 5
    smoothing: Smoothing = "modified_kneser_ney"
    kenlm_exact: Annotated[bool, OnlyWith("smoothing", KNESER_NEY)] = True
    fallback: Annotated[
        tuple[Number, Number, Number], OnlyWith("smoothing", (*KNESER_NEY, "absolute_discounting", "katz"))
    ] = (0.5, 1.0, 1.5)
    k: Annotated[Positive | None, OrNone, OnlyWith("smoothing", ("add_k",))] = None
    weights: Annotated[PerOrder | None, OrNone, OnlyWith("smoothing", ("jelinek_mercer",))] = None
    discounts: Annotated[PerOrder | None, OrNone, OnlyWith("smoothing", ("absolute_discounting",))] = None
    cut: Annotated[Whole, Field(ge=2, le=MOST_WHOLE), OnlyWith("smoothing", ("katz",))] = 5
    alpha: Annotated[Number, Field(gt=0, le=1), OnlyWith("smoothing", ("stupid_backoff",))] = 0.4
    prune: tuple[Annotated[Whole, Field(ge=0, le=MOST_WHOLE)], ...] = ()
    min_documents: Annotated[Whole, Field(ge=1, le=MOST_WHOLE)] = 1
    entropy: NotNegative = 0.0
    interpolate_unigrams: Annotated[bool, OnlyWith("smoothing", KNESER_NEY)] = True

    def __post_init__(self) -> None:
        right = all(0 < discount <= most for most, discount in enumerate(self.fallback, start=1))
        require(right, "fallback", self.fallback, "three discounts, above 0 and at most 1, 2, 3")
        for name in ("weights", "discounts"):
            numbers = getattr(self, name)
            right = numbers is None or len(numbers) == self.order
            require(right, name, numbers, f"{self.order} numbers, one per order, above 0 and below 1")
        self._check_pruning()

    def _check_pruning(self) -> None:
        rising = list(self.prune) == sorted(self.prune)
        allowed = f"at most {self.order} whole numbers, one per order, 0 or more, none below the one before it"
        require(rising and len(self.prune) <= self.order, "prune", self.prune, allowed)
        require(self.prune[:1] in ((), (0,)), "prune", self.prune, "0 at order 1: the vocabulary decides about words")
        scores = self.entropy > 0 and self.smoothing == "stupid_backoff"
        require(not scores, "entropy", self.entropy, "0 for stupid_backoff: scores have no entropy to prune by")
