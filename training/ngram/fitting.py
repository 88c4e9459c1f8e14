"""Fit an n-gram language model: count, estimate by the chosen method, drop rare n-grams, prune by entropy, measure."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.ngram.tables import FLOATS, Precision, Tables
from reviewlm.models.specs import KNESER_NEY, SCORES_ONLY, NGramSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.context import FitContext, FitResult, journal
from reviewlm.training.ngram.counting.counts import (
    Documents,
    NGramCounts,
    count_ngrams,
    unseen_share,
)
from reviewlm.training.ngram.counting.memory import IN_MEMORY, ArrayAllocator, require_memory
from reviewlm.training.ngram.engine import ShardEngine, keeps_results
from reviewlm.training.ngram.measure import measure
from reviewlm.training.ngram.partitions.fitting import (
    PartitionedFit,
    fit_partitions,
    fits_in_partitions,
)
from reviewlm.training.ngram.pruning import (
    drop,
    keep,
    kept_by_count,
    kept_by_documents,
    kept_by_words,
    observed_history,
    prune_by_entropy,
    thresholds,
)
from reviewlm.training.ngram.smoothing.by_context import Estimate, pieces
from reviewlm.training.ngram.smoothing.kneser_ney import estimate as kneser_ney
from reviewlm.training.ngram.smoothing.methods import estimate, figures, numbers_of_ngrams

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream
    from reviewlm.models.tokens.vocabulary import Vocabulary

log = logging.getLogger(__name__)

ENTROPY_BYTES = 70
"""Bytes that pruning by entropy needs per n-gram."""
LARGE_AUTHOR = 0.1
"""Share of the reviews from which on a `user_id` is suspected of not naming one person."""


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
    held_out: Documents | None = None,
    precision: Precision = "double",
    engine: ShardEngine | None = None,
    allowed_V: np.ndarray | None = None,
    padded_vocabulary: int = 0,
    spend: bool = False,
) -> FittedTables:
    """Estimate the model of a spec without the n-grams that are too rare or change the perplexity too little.

    If *counts* know the documents (`min_documents` of `counts.count_ngrams`), n-grams of too few documents are dropped
    as rare ones are.

    Kneser–Ney pruned by count is the same as `lmplz --prune`, to the last digit. With the other
    methods, kept n-grams keep their probabilities, back-off weights are computed again, and every word stays (threshold
    0). Stupid back-off keeps its weights and may drop words.

    If the counts are in temporary files, the tables are too: then memory only holds the numbers of two orders, within
    the limit, and the tables are the same. Only pruning by entropy works in memory; it is refused if it does not fit.

    Args:
        spec: Smoothing method and its parameters, thresholds per order (`pruning.py`), and that of pruning by entropy,
            which comes second.
        held_out: Held-out text for the methods that tune parameters.
        precision: "single" rounds the estimate as files of single precision do, and needs half the memory.
        engine: Executor of the estimation of Kneser–Ney; None for threads. Other methods stay in this process.
        allowed_V: By id, whether n-grams with this word stay, (V,) bool; None allows all. Kneser–Ney only.
        padded_vocabulary: See `kneser_ney.estimate`.
        spend: Whether *counts* may be given up for memory: they are of no use afterwards. Kneser–Ney only.

    Raises:
        ModelError: Entropy pruning needs more than the memory limit (with the bytes that it needs); the spec limits
            documents that the counts do not know. Kind "input".
    """
    _require_documents(spec, counts)
    masks = _kept_ngrams(counts, spec.prune, allowed_V)
    if spec.entropy:
        if masks:
            ngrams = sum(int(np.count_nonzero(kept_M)) for kept_M in masks)
        else:
            ngrams = sum(map(len, counts.orders))

        require_memory(counts.allocator.limit, ENTROPY_BYTES * ngrams)

    if spec.smoothing in KNESER_NEY:
        made = kneser_ney(
            counts,
            spec.smoothing,
            masks=masks,
            padded_vocabulary=padded_vocabulary,
            precision="double" if spec.entropy else precision,
            engine=engine,
            spend=spend and not spec.entropy,
        )
    else:
        made = estimate(counts, spec, held_out)

    tables = packed_tables(counts, made)
    ids = np.arange(counts.vocabulary_size)
    if masks is not None:
        tables, ids = _only_kept(
            tables,
            ids,
            masks,
            counts,
            spec,
        )

    if spec.entropy:
        history = observed_history(counts)
        if masks is not None:
            history = [log_p[kept_M] for log_p, kept_M in zip(history, masks, strict=False)]
        tables = prune_by_entropy(tables, spec.entropy, history)

    return FittedTables(_round_tables(tables, precision, counts.allocator), ids, made)


def _require_documents(spec: NGramSpec, counts: NGramCounts) -> None:
    """Refuse `min_documents` for counts that do not know the documents: every n-gram would stay without a word."""
    counted = any(entry.widespread_M is not None for entry in counts.orders)
    if spec.min_documents > 1 and counts.order > 1 and not counted:
        raise ModelError(
            f"min_documents is {spec.min_documents}, but the counts do not say how many documents hold an n-gram: "
            "give it to `count_ngrams`, too",
            kind="input",
        )


def _only_kept(
    tables: Tables,
    ids: np.ndarray,
    masks: Sequence[np.ndarray],
    counts: NGramCounts,
    spec: NGramSpec,
) -> tuple[Tables, np.ndarray]:
    """Return tables of the n-grams that stay, and the old id of each new id."""
    if spec.smoothing in KNESER_NEY or spec.smoothing in SCORES_ONLY:
        return keep(tables, masks, counts.allocator)
    return drop(
        tables, masks, [entry.suffix_M for entry in counts.orders[1:]], counts.allocator
    ), ids


def packed_tables(counts: NGramCounts, estimated: Estimate) -> Tables:
    """Return tables of counts and an estimate made from them, with only the arrays that scoring needs."""
    followers = tuple(entry.followers for entry in counts.orders if entry.followers is not None)
    return Tables(
        followers,
        estimated.logp,
        estimated.backoff,
        counts.vocabulary_size,
        counts.given,
    )


def _kept_ngrams(
    counts: NGramCounts,
    prune: Sequence[int],
    allowed_V: np.ndarray | None,
) -> tuple[np.ndarray, ...] | None:
    """Return which n-grams stay by their counts, documents and words; None if all stay."""
    masks = []
    if any(thresholds(prune, counts.order)):
        masks.append(kept_by_count(counts, prune))
    if any(entry.widespread_M is not None for entry in counts.orders):
        masks.append(kept_by_documents(counts))
    if allowed_V is not None:
        masks.append(kept_by_words(counts, allowed_V))
    for others in masks[1:]:
        for kept_M, other_M in zip(masks[0], others, strict=True):
            kept_M &= other_M

    return masks[0] if masks else None


def _round_tables(
    tables: Tables,
    precision: Precision,
    allocator: ArrayAllocator,
) -> Tables:
    """Return the tables with numbers of this precision, converted block by block if they are in temporary files."""
    if allocator.folder is None or tables.precision == precision:
        return tables.to(precision)
    kind = FLOATS[precision]
    logp = tuple(_as(array, kind, allocator) for array in tables.logp)
    backoff = tuple(_as(array, kind, allocator) for array in tables.backoff)
    return replace(tables, logp=logp, backoff=backoff)


def _as(
    array: np.ndarray,
    kind: type,
    allocator: ArrayAllocator,
) -> np.ndarray:
    rounded = allocator.empty(len(array), kind)
    for part in pieces(array):
        rounded[part] = array[part]
        allocator.release()
    return rounded


def fit_ngrams(
    spec: NGramSpec,
    vocabulary: Vocabulary,
    train: TokenStream,
    validation: TokenStream,
    context: FitContext,
) -> FitResult:
    """Count and estimate on *train*, measure on *validation*, write one line of `metrics.jsonl`.

    The summary has seconds, tokens, number of parameters, bytes of the tables, and everything of
    `smoothing.methods.figures`: n-grams per order that were kept and pruned, counts of counts, the method's
    parameters, and which orders took which fallback. It also has the share of validation tokens whose n-gram is
    unseen in training, validation nats and perplexity per scored token, and the number of validation tokens with
    probability 0. A single one makes nats and perplexity infinite, as often with maximum likelihood. A model
    without probabilities (stupid back-off) has no nats and no perplexity. Methods of `smoothing.methods.TUNED`
    choose their parameters on *validation*, so their perplexity there is slightly too low.
    """
    train.require(vocabulary)
    validation.require(vocabulary)
    began = time.perf_counter()
    fit = _fit_on_workers if fits_in_partitions(spec, context.engine) else _fit_here
    fitted = fit(
        spec,
        vocabulary,
        train,
        validation,
        context,
    )
    model = NGramLM(fitted.tables, normalised=spec.smoothing not in SCORES_ONLY)
    seconds = time.perf_counter() - began
    tokens = fitted.numbers.tokens
    summary = {
        "seconds": seconds,
        "tokens": float(tokens),
        "tokens_per_second": tokens / seconds,
    }
    tables = fitted.tables
    summary["parameters"] = float(sum(len(a) for a in (*tables.logp, *tables.backoff)))
    summary["bytes"] = float(sum(a.nbytes for a in tables.arrays().values()))
    summary |= figures(fitted.numbers, fitted.made, tables)
    summary |= _validate(model, fitted.unseen, validation)
    shown = ("validation/nats", "validation/perplexity", "tokens_per_second")
    journal(context, tokens, {name: summary[name] for name in shown if name in summary})
    return FitResult(model, summary)


def _fit_here(
    spec: NGramSpec,
    vocabulary: Vocabulary,
    train: TokenStream,
    validation: TokenStream,
    context: FitContext,
) -> PartitionedFit:
    """Count and estimate in this process; an engine may help it with its shards."""
    allocator = IN_MEMORY
    if not spec.entropy:
        allocator = ArrayAllocator.for_text(len(train.ids), spec.order, context.work)

    counts = count_ngrams(
        train,
        spec.order,
        vocabulary.size,
        CONTEXT_IDS,
        allocator,
        engine=context.engine,
        min_documents=spec.min_documents,
        authors_D=authors_to_count(train.authors, spec.min_documents),
    )
    tables, _, made = fit_tables(counts, spec, validation, engine=context.engine)
    unseen = {}
    if not np.isin(validation.ids, counts.given).all():
        unseen = unseen_share(counts, validation)
    return PartitionedFit(tables, made, numbers_of_ngrams(counts, made), unseen)


def _fit_on_workers(
    spec: NGramSpec,
    vocabulary: Vocabulary,
    train: TokenStream,
    validation: TokenStream,
    context: FitContext,
) -> PartitionedFit:
    """Count and estimate on the workers of an engine; the tables are in temporary files here."""
    context.work.mkdir(parents=True, exist_ok=True)
    assert keeps_results(context.engine)
    return fit_partitions(
        train,
        validation,
        spec,
        vocabulary.size,
        CONTEXT_IDS,
        context.engine,
        ArrayAllocator(context.work),
        authors_to_count(train.authors, spec.min_documents),
    )


def authors_to_count(authors_D: np.ndarray | None, min_documents: int) -> np.ndarray | None:
    """Return the author of each review if authors are the unit of `min_documents`, None if reviews are.

    Reviews are the unit if no author is known, or if there are fewer authors than n-grams need.

    Args:
        authors_D: Number of the person who wrote each review (D,); None if no author is known.
        min_documents: Number of authors, or reviews, that an n-gram needs.
    """
    if min_documents < 2 or authors_D is None:
        return None

    reviews_A = np.bincount(authors_D)
    if len(reviews_A) < min_documents:
        log.warning(
            "the training reviews are by %d person(s) only, so min_documents = %d counts reviews instead of people",
            len(reviews_A),
            min_documents,
        )
        return None

    share = reviews_A.max() / len(authors_D)
    if share > LARGE_AUTHOR:
        log.warning(
            "one user_id has %.0f%% of the training reviews, and n-grams that nobody else has are dropped "
            "(min_documents). If it does not name one person, leave these ids empty",
            100 * share,
        )

    return authors_D


def _validate(
    model: NGramLM,
    unseen: Mapping[int, float],
    validation: TokenStream,
) -> dict[str, float]:
    """Return the figures of the validation text; none if it is empty."""
    shares = {f"unseen_share/{order}": share for order, share in unseen.items()}
    if not (unseen and model.normalised):
        return shares
    measured = measure(model, validation.ids, sorted(CONTEXT_IDS))
    return shares | {f"validation/{name}": value for name, value in measured.items()}
