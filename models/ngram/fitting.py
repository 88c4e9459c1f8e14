"""From counts to the tables of a model: estimate by the method that is asked for, drop what is rare, prune the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..base import ModelError
from ..specs import NGramSpec
from .counts import Documents, NGramCounts
from .entropy_pruning import observed_history, prune_by_entropy
from .kneser_ney import SMOOTHINGS, Estimate
from .kneser_ney import estimate as kneser_ney
from .pruning import drop, keep, kept_by_count
from .smoothing import SCORES_ONLY, estimate
from .tables import Precision, Tables


class Fitted(NamedTuple):
    """`tables`; `ids`, the old id of each new one (all of them where no word is dropped); the `estimate` they are from.

    The estimate has an entry for every counted n-gram, and the discounts.
    """

    tables: Tables
    ids: np.ndarray
    estimate: Estimate


def fit_tables(
    counts: NGramCounts,
    spec: NGramSpec,
    prune: Sequence[int] = (),
    entropy: float = 0.0,
    held_out: Documents | None = None,
    padded_vocabulary: int = 0,
    precision: Precision = "double",
    threads: int | None = None,
) -> Fitted:
    """Estimate the model of a spec without the n-grams that are too rare or make too little difference.

    Pruned by count, Kneser–Ney is `lmplz`'s with `--prune`, to the last digit where the spec says so. The other methods
    give their probabilities to what is kept, back-off weights are computed anew, and every word stays (threshold 0).

    Where the counts lie in files (`memory_limit` of `counts.count_ngrams`), so do the tables of Kneser–Ney that is not
    pruned: memory then holds the numbers of two orders, within the limit. They are the same tables.

    Args:
        prune: Thresholds per order, see `pruning.thresholds`; none keep everything.
        entropy: Threshold of `entropy_pruning.prune_by_entropy`, which comes second; 0 keeps everything.
        held_out: For the methods that tune themselves.
        padded_vocabulary: See `kneser_ney.estimate`.
        precision: "single" rounds the estimate as files of single precision do, and takes half the memory.
        threads: How many to use; None for `threads.THREADS`.

    Raises:
        ModelError: Thresholds that are not allowed; words to be dropped, or a vocabulary to be padded, by another
            method than Kneser–Ney; scores that are no probabilities to be pruned by entropy. Kind "input".
    """
    if spec.smoothing in SMOOTHINGS and not any(prune) and not entropy:
        options = (spec.kenlm_exact, spec.fallback, None, padded_vocabulary, precision, threads)
        made = kneser_ney(counts, spec.smoothing, *options)
        return Fitted(Tables.pack(counts, made), np.arange(counts.vocabulary_size), made)
    kept = kept_by_count(counts, prune)
    fitted = _without_rare(counts, spec, kept, held_out, padded_vocabulary)
    if not entropy:
        return fitted._replace(tables=fitted.tables.to(precision))
    if spec.smoothing in SCORES_ONLY or padded_vocabulary:
        raise ModelError("only models whose probabilities sum to 1 can be pruned by entropy", kind="input")
    history = [log_p[kept_M] for log_p, kept_M in zip(observed_history(counts), kept, strict=False)]
    return fitted._replace(tables=prune_by_entropy(fitted.tables, entropy, history).to(precision))


def _without_rare(
    counts: NGramCounts,
    spec: NGramSpec,
    kept: Sequence[np.ndarray],
    held_out: Documents | None,
    padded_vocabulary: int,
) -> Fitted:
    if spec.smoothing in SMOOTHINGS:
        made = kneser_ney(counts, spec.smoothing, spec.kenlm_exact, spec.fallback, kept, padded_vocabulary)
        return Fitted(*_kept(Tables.pack(counts, made), kept), made)
    if padded_vocabulary:
        raise ModelError(f"only Kneser–Ney can pad its vocabulary; the method is {spec.smoothing}", kind="input")
    made = estimate(counts, spec, held_out)
    tables, take_out = Tables.pack(counts, made), _kept if spec.smoothing in SCORES_ONLY else _dropped
    return Fitted(*take_out(tables, kept), made)


def _kept(tables: Tables, kept: Sequence[np.ndarray]) -> tuple[Tables, np.ndarray]:
    if all(kept_M.all() for kept_M in kept):
        return tables, np.arange(tables.vocabulary_size)
    return keep(tables, kept)


def _dropped(tables: Tables, kept: Sequence[np.ndarray]) -> tuple[Tables, np.ndarray]:
    if not all(kept_M.all() for kept_M in kept):
        tables = drop(tables, kept)
    return tables, np.arange(tables.vocabulary_size)
