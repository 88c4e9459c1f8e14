"""Fit the tables of a model from counts: estimate by the chosen method, drop rare n-grams, prune by entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from models.base import ModelError
from models.ngram.tables import FLOATS, Precision, Tables
from models.specs import KNESER_NEY, SCORES_ONLY, NGramSpec
from training.ngram.counting.counts import Documents, NGramCounts
from training.ngram.counting.memory import ArrayAllocator, require_memory
from training.ngram.engine import ShardEngine
from training.ngram.pruning import (
    drop,
    keep,
    kept_by_count,
    kept_by_documents,
    kept_by_words,
    observed_history,
    prune_by_entropy,
    thresholds,
)
from training.ngram.smoothing.by_context import Estimate, pieces
from training.ngram.smoothing.kneser_ney import estimate as kneser_ney
from training.ngram.smoothing.methods import estimate

ENTROPY_BYTES = 70
"""Bytes that pruning by entropy needs per n-gram."""


class FittedTables(NamedTuple):
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
    engine: ShardEngine | None = None,
    allowed_V: np.ndarray | None = None,
) -> FittedTables:
    """Estimate the model of a spec without the n-grams that are too rare or change the perplexity too little.

    If *counts* know the documents (`min_documents` of `counts.count_ngrams`), n-grams of too few documents are dropped
    as rare ones are.

    Kneser–Ney pruned by count is the same as `lmplz --prune`, to the last digit. With the other
    methods, kept n-grams keep their probabilities, back-off weights are computed again, and every word stays (threshold
    0). Stupid back-off keeps its weights and may drop words.

    If the counts are in temporary files (`memory_limit` of `counts.count_ngrams`), the tables are too: then memory only
    holds the numbers of two orders, within the limit, and the tables are the same. Only pruning by entropy works in
    memory; it is refused if it does not fit.

    Args:
        spec: Smoothing method and its parameters.
        prune: Thresholds per order, see `pruning.py`; empty keeps everything.
        entropy: Threshold of `relative_entropy.prune_by_entropy`, which comes second; 0 keeps everything.
        held_out: Held-out text for the methods that tune parameters.
        padded_vocabulary: See `kneser_ney.estimate`.
        precision: "single" rounds the estimate as files of single precision do, and needs half the memory.
        engine: Executor of the estimation of Kneser–Ney; None for threads. Other methods stay in this process.
        allowed_V: By id, whether n-grams with this word stay, (V,) bool; None allows all. Kneser–Ney only.

    Raises:
        ModelError: Options cannot be combined (`require_options`); entropy pruning needs more than the memory limit
            (with the bytes that it needs); the spec limits documents that the counts do not know. Kind "input".
    """
    require_options(spec, prune, entropy, padded_vocabulary, limited=allowed_V is not None)
    _require_documents(spec, counts)
    masks = _kept(counts, prune, allowed_V)
    if entropy:
        ngrams = sum(int(np.count_nonzero(kept_M)) for kept_M in masks) if masks else sum(map(len, counts.orders))
        require_memory(counts.allocator.limit, ENTROPY_BYTES * ngrams)
    if spec.smoothing in KNESER_NEY:
        made = kneser_ney(
            counts, spec.smoothing, masks=masks, padded_vocabulary=padded_vocabulary,
            precision="double" if entropy else precision, engine=engine,
        )  # fmt: skip
    else:
        made = estimate(counts, spec, held_out)
    tables, ids = packed_tables(counts, made), np.arange(counts.vocabulary_size)
    if masks is not None:
        tables, ids = _only_kept(tables, ids, masks, counts, spec)
    if entropy:
        history = observed_history(counts)
        if masks is not None:
            history = [log_p[kept_M] for log_p, kept_M in zip(history, masks, strict=False)]
        tables = prune_by_entropy(tables, entropy, history)
    return FittedTables(_rounded(tables, precision, counts.allocator), ids, made)


def _require_documents(spec: NGramSpec, counts: NGramCounts) -> None:
    """Refuse `min_documents` for counts that do not know the documents: every n-gram would stay without a word."""
    counted = any(entry.widespread_M is not None for entry in counts.orders)
    if spec.min_documents > 1 and counts.order > 1 and not counted:
        raise ModelError(
            f"min_documents is {spec.min_documents}, but the counts do not say how many documents hold an n-gram: "
            "give it to `count_ngrams`, too", kind="input",
        )  # fmt: skip


def _only_kept(
    tables: Tables, ids: np.ndarray, masks: Sequence[np.ndarray], counts: NGramCounts, spec: NGramSpec
) -> tuple[Tables, np.ndarray]:
    """Return tables of the n-grams that stay, and the old id of each new id."""
    suffix = [entry.suffix_M for entry in counts.orders[1:]]
    if spec.smoothing in KNESER_NEY or spec.smoothing in SCORES_ONLY:
        return keep(tables, masks, suffix, counts.allocator)
    return drop(tables, masks, suffix, counts.allocator), ids


def packed_tables(counts: NGramCounts, estimate: Estimate) -> Tables:
    """Return tables of counts and an estimate made from them, with only the arrays that scoring needs."""
    followers = tuple(entry.followers for entry in counts.orders if entry.followers is not None)
    return Tables(followers, estimate.logp, estimate.backoff, counts.vocabulary_size, counts.given)


def make_spec(**options: Any) -> NGramSpec:
    """Return the spec with these options.

    Raises:
        ModelError: An option is unknown or out of its range; kind "input".
    """
    try:
        return NGramSpec(**options)
    except (TypeError, ValueError) as error:
        raise ModelError(str(error), kind="input") from error


def require_options(
    spec: NGramSpec, prune: Sequence[int], entropy: float, padded_vocabulary: int, limited: bool
) -> None:
    """Raise ModelError (kind "input") for options of `fit_tables` that are out of range or cannot be combined."""
    smoothing = spec.smoothing
    is_kneser_ney, is_scores = smoothing in KNESER_NEY, smoothing in SCORES_ONLY
    drops_words = thresholds(prune, spec.order)[0] > 0 and not (is_kneser_ney or is_scores)
    for wrong, message in (
        (drops_words, f"prune is {tuple(prune)}; {smoothing} keeps all unigrams: the threshold of order 1 must be 0"),
        (not 0 <= entropy < math.inf, f"entropy is {entropy}; it must be 0 or more and finite"),
        (entropy > 0 and is_scores, f"{smoothing} gives scores, which do not sum to 1 and have no entropy"),
        (padded_vocabulary and entropy, "padding and pruning by entropy cannot be combined: p does not sum to 1"),
        (padded_vocabulary < 0, f"the padded vocabulary is {padded_vocabulary}; it must be 0 or more"),
        (padded_vocabulary and not is_kneser_ney, f"only Kneser–Ney can pad its vocabulary, not {smoothing}"),
        (limited and not is_kneser_ney, f"only Kneser–Ney can limit its vocabulary, not {smoothing}"),
    ):
        if wrong:
            raise ModelError(message, kind="input")


def _kept(
    counts: NGramCounts, prune: Sequence[int], allowed_V: np.ndarray | None
) -> tuple[np.ndarray, ...] | None:
    """Return which n-grams stay by their counts, documents and words; None if all stay."""
    rules = [
        kept_by_count(counts, prune) if any(thresholds(prune, counts.order)) else None,
        kept_by_documents(counts) if any(entry.widespread_M is not None for entry in counts.orders) else None,
        None if allowed_V is None else kept_by_words(counts, allowed_V),
    ]
    masks = [one for one in rules if one is not None]
    for others in masks[1:]:
        for kept_M, other_M in zip(masks[0], others, strict=True):
            kept_M &= other_M
    return masks[0] if masks else None


def _rounded(tables: Tables, precision: Precision, allocator: ArrayAllocator) -> Tables:
    """Return the tables with numbers of this precision, converted block by block if they are in temporary files."""
    if allocator.folder is None or tables.precision == precision:
        return tables.to(precision)
    return replace(
        tables,
        logp=tuple(_as(array, FLOATS[precision], allocator) for array in tables.logp),
        backoff=tuple(_as(array, FLOATS[precision], allocator) for array in tables.backoff),
    )


def _as(array: np.ndarray, kind: type, allocator: ArrayAllocator) -> np.ndarray:
    rounded = allocator.empty(len(array), kind)
    for part in pieces(array):
        rounded[part] = array[part]
        allocator.release()
    return rounded
