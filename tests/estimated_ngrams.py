"""Estimate n-gram models from counts; list counted n-grams."""

from __future__ import annotations

from typing import Any

from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import SCORES_ONLY, NGramSpec
from reviewlm.training.ngram.counting.counts import Documents, NGramCounts
from reviewlm.training.ngram.fitting import fit_tables


def estimate_ngrams(
    counts: NGramCounts,
    smoothing: Any = "modified_kneser_ney",
    held_out: Documents | None = None,
    **options: Any,
) -> NGramLM:
    spec = NGramSpec(
        order=counts.order,
        smoothing=smoothing,
        **options,
    )
    return NGramLM(fit_tables(counts, spec, held_out).tables, smoothing not in SCORES_ONLY)


def ngrams_of(counts: NGramCounts) -> list[list[tuple[int, ...]]]:
    """Return the n-grams of each order, in the order of their rows."""
    rows = [[(word,) for word in range(counts.vocabulary_size)]]
    for entry in counts.orders[1:]:
        pairs = zip(
            entry.followers.contexts().tolist(), entry.followers.word_M.tolist(), strict=True
        )
        rows.append([(*rows[-1][context], word) for context, word in pairs])
    return rows
