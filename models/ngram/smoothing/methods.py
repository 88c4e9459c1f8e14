"""All smoothing methods by name, behind one interface: counts in, log-probabilities and back-off weights out.

Tables, scoring, pruning and ARPA files know this form only, never the method. A new method = one file here, one entry
of `METHODS`, and its name in `models.specs.Smoothing`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...specs import NGramSpec
from ..counting.counts import Documents, NGramCounts
from ..tables import Tables
from . import absolute, add_k, jelinek_mercer, katz, kneser_ney, mle, stupid_backoff, witten_bell
from .estimate import Estimate
from .interpolation import SmoothedEstimate, raw_counts_of_counts

logger = logging.getLogger(__name__)

Estimator = Callable[[NGramCounts, NGramSpec, Documents | None], Estimate]


def _kneser_ney(counts: NGramCounts, spec: NGramSpec, held_out: Documents | None) -> Estimate:
    return kneser_ney.estimate(counts, spec.smoothing, spec.kenlm_exact, spec.fallback)


METHODS: dict[str, Estimator] = {
    "maximum_likelihood": lambda counts, spec, held_out: mle.estimate(counts),
    "add_k": lambda counts, spec, held_out: add_k.estimate(counts, spec.k, held_out),
    "jelinek_mercer": lambda counts, spec, held_out: jelinek_mercer.estimate(counts, spec.weights, held_out),
    "witten_bell": lambda counts, spec, held_out: witten_bell.estimate(counts),
    "absolute_discounting": lambda counts, spec, held_out: absolute.estimate(counts, spec.discounts, spec.fallback),
    "katz": lambda counts, spec, held_out: katz.estimate(counts, spec.cut, spec.fallback),
    "kneser_ney": _kneser_ney,
    "modified_kneser_ney": _kneser_ney,
    "stupid_backoff": lambda counts, spec, held_out: stupid_backoff.estimate(counts, spec.alpha),
}
SCORES_ONLY = frozenset(("stupid_backoff",))
"""Methods whose numbers rank words but are no probabilities: they have no nats and no perplexity."""
TUNED = frozenset(("add_k", "jelinek_mercer"))
"""Methods that choose parameters on held-out text unless the spec gives them: their perplexity there flatters."""


def tunes(spec: NGramSpec) -> bool:
    """Return whether the spec leaves parameters to be chosen on held-out text."""
    given = {"add_k": spec.k, "jelinek_mercer": spec.weights}
    return spec.smoothing in TUNED and given[spec.smoothing] is None


def estimate(counts: NGramCounts, spec: NGramSpec, held_out: Documents | None = None) -> Estimate:
    """Estimate the model of a spec, in float64.

    Never fails for want of data: what the text does not determine is replaced. A warning and `figures` name the
    replacement; the spec's `fallback`, `k`, `weights` and `discounts` override it.

    Args:
        counts: Of the training text, of `spec.order` orders.
        spec: The method (`smoothing`) and its parameters.
        held_out: Validation text, for the methods in `TUNED`.
    """
    made = METHODS[spec.smoothing](counts, spec, held_out)
    if isinstance(made, SmoothedEstimate):  # Kneser–Ney says it itself
        for order, name in made.fallbacks.items():
            logger.warning("order %d: the text does not determine %s; taking %s", order, spec.smoothing, name)
    return made


def figures(counts: NGramCounts, made: Estimate, tables: Tables | None = None) -> dict[str, float]:
    """Return what a run reports of an estimate, by name.

    Per order k: `ngrams/k` (at order 1 the words that occur) and `pruned/k`, those that were counted but are not in
    *tables*; `counts_of_counts/k/j` (Kneser–Ney: of adjusted counts); `discount/k/j`; `fallback/k` (1 if one was
    taken) and `fallback/k/NAME` (which). `fallback_orders` is their number; the other parameters (`k`, `weight/2`,
    `discount_ratio/3/1`, …) have the names that the method's file gives them.

    Args:
        tables: What was kept; None: all of it.
    """
    taken = fallbacks(made)
    values: dict[str, float] = {"fallback_orders": float(len(taken))}
    for order in range(1, counts.order + 1):
        seen = int((counts.orders[0].raw_M > 0).sum()) if order == 1 else len(counts.orders[order - 1])
        pruned = 0 if tables is None else len(counts.orders[order - 1]) - len(tables.logp[order - 1])
        values[f"ngrams/{order}"], values[f"pruned/{order}"] = float(seen - pruned), float(pruned)
        n = made.discounts[order - 1].counts_of_counts if made.discounts else raw_counts_of_counts(counts, order, 4)
        values |= {f"counts_of_counts/{order}/{j}": float(n_j) for j, n_j in enumerate(n, start=1)}
        values[f"fallback/{order}"] = float(order in taken)
        if order in taken:
            values[f"fallback/{order}/{taken[order]}"] = 1.0
    for order, found in enumerate(made.discounts, start=1):
        values |= {f"discount/{order}/{j}": found.values[j] for j in (1, 2, 3)}
    return values | dict(made.facts) if isinstance(made, SmoothedEstimate) else values


def fallbacks(made: Estimate) -> dict[int, str]:
    """Return order → name of the fallback that an estimate took there."""
    if isinstance(made, SmoothedEstimate):
        return dict(made.fallbacks)
    return {order: "fixed_discounts" for order, found in enumerate(made.discounts, start=1) if found.fallback}
