"""Call smoothing methods by name: from counts to log-probabilities and back-off weights.

Tables, scoring, pruning and ARPA files depend only on this form, not on the method. A new method needs a function in
this folder, one case of `_estimate`, and its name in `Smoothing` of `models/specs.py`.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from reviewlm.models.ngram.tables import Tables
from reviewlm.models.specs import KNESER_NEY, NGramSpec, Smoothing
from reviewlm.training.ngram.counting.counts import Documents, NGramCounts
from reviewlm.training.ngram.smoothing import add_k, closed_form, jelinek_mercer, katz, kneser_ney
from reviewlm.training.ngram.smoothing.by_context import Estimate
from reviewlm.training.ngram.smoothing.interpolation import raw_counts_of_counts

logger = logging.getLogger(__name__)

TUNED = frozenset(("add_k", "jelinek_mercer"))
"""Methods that tune parameters on held-out text. Their perplexity there is too low."""


def estimate(
    counts: NGramCounts,
    spec: NGramSpec,
    held_out: Documents | None = None,
) -> Estimate:
    """Estimate the model of a spec, in float64.

    It never fails because of too little data: parameters that the text does not determine get a fallback. A warning and
    `figures` name the fallback.

    Args:
        counts: Counts of the training text, of `spec.order` orders.
        held_out: Validation text, for the methods in `TUNED`.
    """
    made = _estimate(counts, spec.smoothing, held_out)
    if spec.smoothing not in KNESER_NEY:  # Kneser–Ney logs its own warning
        for order, name in made.fallbacks.items():
            if order == 1 and not _has_single_words(counts):
                continue
            logger.warning(
                "order %d: too little text to estimate %s: %s is used. Train on more text",
                order,
                spec.smoothing,
                name,
            )

    return made


def _has_single_words(counts: NGramCounts) -> bool:
    """Return whether a word occurs once. A vocabulary with a least count has none, so a fallback is then no surprise."""
    return bool((counts.orders[0].raw_M == 1).any())


def _estimate(
    counts: NGramCounts,
    smoothing: Smoothing,
    held_out: Documents | None,
) -> Estimate:
    match smoothing:
        case "maximum_likelihood":
            return closed_form.estimate_maximum_likelihood(counts)
        case "add_k":
            return add_k.estimate_add_k(counts, held_out=held_out)
        case "jelinek_mercer":
            return jelinek_mercer.estimate_jelinek_mercer(counts, held_out=held_out)
        case "witten_bell":
            return closed_form.estimate_witten_bell(counts)
        case "absolute_discounting":
            return closed_form.estimate_absolute(counts)
        case "katz":
            return katz.estimate(counts)
        case "stupid_backoff":
            return closed_form.estimate_stupid_backoff(counts)
        case "kneser_ney" | "modified_kneser_ney":
            return kneser_ney.estimate(counts, smoothing)


class NGramNumbers(NamedTuple):
    """How many n-grams were counted.

    Args:
        tokens: Number of tokens of the text that are predicted.
        words: Number of words that occur.
        ngrams: Number of n-grams, per order 1 … N; at order 1 V.
        counts_of_counts: n1, n2, n3, n4 per order.
    """

    tokens: int
    words: int
    ngrams: tuple[int, ...]
    counts_of_counts: tuple[tuple[int, ...], ...]


def numbers_of_ngrams(counts: NGramCounts, made: Estimate) -> NGramNumbers:
    """Return how many n-grams were counted for an estimate."""
    if made.discounts:
        n: list[tuple[int, ...]] = [discount.counts_of_counts for discount in made.discounts]
    else:
        n = [raw_counts_of_counts(counts, order, 4) for order in range(1, counts.order + 1)]
    raw_V = counts.orders[0].raw_M
    ngrams = tuple(map(len, counts.orders))
    return NGramNumbers(int(raw_V.sum()), int(np.count_nonzero(raw_V)), ngrams, tuple(n))


def figures(
    counted: NGramNumbers,
    made: Estimate,
    tables: Tables | None = None,
) -> dict[str, float]:
    """Return the figures of an estimate that a run reports, by name.

    Per order k: `ngrams/k` (at order 1 the words that occur) and `pruned/k`, the number of counted n-grams that are not
    in *tables*; `counts_of_counts/k/j` (Kneser–Ney: of adjusted counts); `discount/k/j`; `fallback/k` (1 if a fallback
    was used) and `fallback/k/NAME` (its name). `fallback_orders` is the number of orders with a fallback. Other
    parameters (`k`, `weight/2`, `discount_ratio/3/1`, …) have the names that the method's file gives them.

    Args:
        tables: The kept n-grams; None: all.
    """
    values: dict[str, float] = {"fallback_orders": float(len(made.fallbacks))}
    for order, ngrams in enumerate(counted.ngrams, start=1):
        seen = counted.words if order == 1 else ngrams
        pruned = 0
        if tables is not None:
            pruned = ngrams - len(tables.logp[order - 1])

        values[f"ngrams/{order}"] = float(seen - pruned)
        values[f"pruned/{order}"] = float(pruned)
        for j, n_j in enumerate(counted.counts_of_counts[order - 1], start=1):
            values[f"counts_of_counts/{order}/{j}"] = float(n_j)
        values[f"fallback/{order}"] = float(order in made.fallbacks)
        if order in made.fallbacks:
            values[f"fallback/{order}/{made.fallbacks[order]}"] = 1.0

    for order, discount in enumerate(made.discounts, start=1):
        values |= {f"discount/{order}/{j}": discount.values[j] for j in (1, 2, 3)}

    return values | dict(made.facts)
