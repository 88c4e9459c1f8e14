"""Fit the tables of a model from counts: estimate by the chosen method, drop rare n-grams, prune by entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..base import ModelError
from ..specs import NGramSpec
from .counting.array_allocator import Shelf
from .counting.counts import Documents, NGramCounts
from .counting.memory import require_memory
from .engine import Engine
from .pruning.prune import drop, keep, kept_by_count, kept_by_words, thresholds
from .pruning.relative_entropy import observed_history, prune_by_entropy
from .smoothing.by_context import pieces
from .smoothing.estimate import Estimate
from .smoothing.kneser_ney import SMOOTHINGS
from .smoothing.kneser_ney import estimate as kneser_ney
from .smoothing.methods import SCORES_ONLY, estimate
from .tables import FLOATS, Precision, Tables

ENTROPY_BYTES = 70
"""Bytes that pruning by entropy needs per n-gram."""


class Fitted(NamedTuple):
    """The fitted model.

    Attributes:
        tables: The tables of the model.
        ids: The old id of each new id (all ids if no word was dropped).
        estimate: The estimate behind the tables, with an entry for every counted n-gram, and the discounts.
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
    engine: Engine | None = None,
    allowed_V: np.ndarray | None = None,
) -> Fitted:
    """Estimate the model of a spec without the n-grams that are too rare or change the perplexity too little.

    Kneser–Ney pruned by count is the same as `lmplz --prune`, to the last digit with `kenlm_exact`. With the other
    methods, kept n-grams keep their probabilities, back-off weights are computed again, and every word stays (threshold
    0). Stupid back-off keeps its weights and may drop words.

    If the counts are in temporary files (`memory_limit` of `counts.count_ngrams`), the tables are too: then memory only
    holds the numbers of two orders, within the limit, and the tables are the same. Only pruning by entropy works in
    memory; it is refused if it does not fit.

    Args:
        counts: Counts of the training text.
        spec: Smoothing method and its parameters.
        prune: Thresholds per order, see `pruning/prune.py`; empty keeps everything.
        entropy: Threshold of `relative_entropy.prune_by_entropy`, which comes second; 0 keeps everything.
        held_out: Held-out text for the methods that tune parameters.
        padded_vocabulary: See `kneser_ney.estimate`.
        precision: "single" rounds the estimate as files of single precision do, and needs half the memory.
        threads: Number of threads; None for `threads.THREADS`.
        engine: Executor of the estimation of Kneser–Ney, in blocks, instead of threads; other methods stay in this
            process.
        allowed_V: By id, whether n-grams with this word stay, (V,) bool; None allows all. Kneser–Ney only.

    Raises:
        ModelError: Thresholds are not allowed; a method that cannot drop, pad or limit words should do so; stupid
            back-off or a padded vocabulary is combined with entropy pruning; entropy pruning needs more than the memory
            limit (with the bytes that it needs). Kind "input".
    """
    kept = _kept(counts, prune, allowed_V)
    if entropy and (spec.smoothing in SCORES_ONLY or padded_vocabulary):
        raise ModelError("only models whose probabilities sum to 1 can be pruned by entropy", kind="input")
    if padded_vocabulary and spec.smoothing not in SMOOTHINGS:
        raise ModelError(f"only Kneser–Ney can pad its vocabulary; the method is {spec.smoothing}", kind="input")
    if allowed_V is not None and spec.smoothing not in SMOOTHINGS:
        raise ModelError(f"only Kneser–Ney can limit its vocabulary; the method is {spec.smoothing}", kind="input")
    if entropy:
        ngrams = sum(int(np.count_nonzero(kept_M)) for kept_M in kept) if kept else sum(map(len, counts.orders))
        require_memory(counts.shelf.limit, ENTROPY_BYTES * ngrams, "pruning by entropy")
    if spec.smoothing in SMOOTHINGS:
        options = (spec.smoothing, spec.kenlm_exact, spec.fallback, kept, padded_vocabulary)
        options_of_work = ("double" if entropy else precision, threads, engine)
        made = kneser_ney(counts, *options, *options_of_work, interpolate_unigrams=spec.interpolate_unigrams)
    else:
        made = estimate(counts, spec, held_out)
    tables, ids = Tables.pack(counts, made), np.arange(counts.vocabulary_size)
    if kept is not None:
        suffix = [entry.suffix_M for entry in counts.orders[1:]]
        if spec.smoothing in SMOOTHINGS or spec.smoothing in SCORES_ONLY:
            tables, ids = keep(tables, kept, suffix, counts.shelf)
        else:
            tables = drop(tables, kept, suffix, counts.shelf)
    if entropy:
        history = observed_history(counts)
        if kept is not None:
            history = [log_p[kept_M] for log_p, kept_M in zip(history, kept, strict=False)]
        tables = prune_by_entropy(tables, entropy, history)
    return Fitted(_rounded(tables, precision, counts.shelf), ids, made)


def _kept(
    counts: NGramCounts, prune: Sequence[int], allowed_V: np.ndarray | None
) -> tuple[np.ndarray, ...] | None:
    """Return which n-grams stay by their counts and their words; None if all stay."""
    kept = kept_by_count(counts, prune) if any(thresholds(prune, counts.order)) else None
    if allowed_V is None:
        return kept
    by_words = kept_by_words(counts, allowed_V)
    if kept is None:
        return by_words
    for kept_M, allowed_M in zip(kept, by_words, strict=True):
        kept_M &= allowed_M
    return kept


def _rounded(tables: Tables, precision: Precision, shelf: Shelf) -> Tables:
    """Return the tables with numbers of this precision, converted block by block if they are in temporary files."""
    if shelf.folder is None or tables.precision == precision:
        return tables.to(precision)
    return replace(
        tables,
        logp=tuple(_as(array, FLOATS[precision], shelf) for array in tables.logp),
        backoff=tuple(_as(array, FLOATS[precision], shelf) for array in tables.backoff),
    )


def _as(array: np.ndarray, kind: type, shelf: Shelf) -> np.ndarray:
    rounded = shelf.empty(len(array), kind)
    for part in pieces(array):
        rounded[part] = array[part]
        shelf.release()
    return rounded
