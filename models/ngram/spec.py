"""Define the options of an n-gram model; must not import numpy or torch, like `models/specs.py`, which exports them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ..names import require_name
from ..options import LATER, one_of, refuse_idle, require, require_types

Smoothing = Literal[
    "maximum_likelihood", "add_k", "jelinek_mercer", "witten_bell", "absolute_discounting", "katz",
    "kneser_ney", "modified_kneser_ney", "stupid_backoff",
]  # fmt: skip
"""Names of the smoothing methods; each is explained in its module in `models/ngram/smoothing/`."""
PARAMETERS_OF: dict[str, tuple[str, ...]] = {
    "k": ("add_k",),
    "weights": ("jelinek_mercer",),
    "discounts": ("absolute_discounting",),
    "cut": ("katz",),
    "alpha": ("stupid_backoff",),
    "fallback": ("modified_kneser_ney", "kneser_ney", "absolute_discounting", "katz"),
    "kenlm_exact": ("modified_kneser_ney", "kneser_ney"),
    "interpolate_unigrams": ("modified_kneser_ney", "kneser_ney"),
}
"""Parameter of `NGramSpec` → methods that use it; with other methods only its default is accepted."""


@dataclass(frozen=True)
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
        entropy: After that, drop every n-gram that raises the perplexity by less than the factor 1 + this (1e-8 drops
            few, 1e-6 many); 0 keeps all.
        interpolate_unigrams: Kneser–Ney: share the discounted probability of the unigrams equally among all entries;
            false gives all of it to `<unk>`, as SRILM and `lmplz --interpolate_unigrams 0` do.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    kind: Literal["ngram"] = "ngram"
    name: str = "kn5"
    vocabulary: str = "word"
    order: int = 5
    smoothing: Smoothing = "modified_kneser_ney"
    kenlm_exact: bool = True
    fallback: tuple[float, float, float] = (0.5, 1.0, 1.5)
    k: float | None = None
    weights: tuple[float, ...] | None = None
    discounts: tuple[float, ...] | None = None
    cut: int = 5
    alpha: float = 0.4
    prune: tuple[int, ...] = field(default=(), metadata=LATER)
    entropy: float = field(default=0.0, metadata=LATER)
    interpolate_unigrams: bool = field(default=True, metadata=LATER)

    def __post_init__(self) -> None:
        require_types(self)
        require_name(self.name)
        require(1 <= self.order <= 6, "order", self.order, "between 1 and 6")
        right = len(self.fallback) == 3 and all(0 < d <= j for j, d in enumerate(self.fallback, start=1))
        require(right, "fallback", self.fallback, "three discounts, above 0 and at most 1, 2, 3")
        require(self.k is None or 0 < self.k < float("inf"), "k", self.k, "above 0 and finite")
        require(self.cut >= 2, "cut", self.cut, "at least 2")
        require(0 < self.alpha <= 1, "alpha", self.alpha, "above 0 and at most 1")
        for name in ("weights", "discounts"):
            numbers = getattr(self, name)
            right = numbers is None or (len(numbers) == self.order and all(0 < value < 1 for value in numbers))
            require(right, name, numbers, f"{self.order} numbers, one per order, above 0 and below 1")
        self._check_pruning()
        refuse_idle(self)

    @property
    def idle(self) -> dict[str, str]:
        """Options that have no effect with the current method, and where they take effect."""
        others = {name: methods for name, methods in PARAMETERS_OF.items() if self.smoothing not in methods}
        return {name: one_of("smoothing", methods) for name, methods in others.items()}

    def _check_pruning(self) -> None:
        rising = all(type(t) is int and t >= 0 for t in self.prune) and list(self.prune) == sorted(self.prune)
        allowed = f"at most {self.order} whole numbers, one per order, 0 or more, none below the one before it"
        require(rising and len(self.prune) <= self.order, "prune", self.prune, allowed)
        require(self.prune[:1] in ((), (0,)), "prune", self.prune, "0 at order 1: the vocabulary decides about words")
        require(0 <= self.entropy < float("inf"), "entropy", self.entropy, "0 or more and finite")
        scores = self.entropy > 0 and self.smoothing == "stupid_backoff"
        require(not scores, "entropy", self.entropy, "0 for stupid_backoff: scores have no entropy to prune by")
