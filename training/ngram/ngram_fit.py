"""Fit an n-gram language model: count, estimate, measure on validation text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from models.ngram.lm import NGramLM
from models.specs import SCORES_ONLY, NGramSpec
from training.context import FitContext, FitResult, journal
from training.ngram.counting.counts import Documents, NGramCounts, count_ngrams, unseen_share
from training.ngram.fitting import fit_tables, make_spec
from training.ngram.measure import measure
from training.ngram.smoothing.methods import figures

if TYPE_CHECKING:
    from models.streams import TokenStream
    from models.tokens.vocabulary import Vocabulary


def estimate_ngrams(
    counts: NGramCounts, smoothing: str = "modified_kneser_ney", held_out: Documents | None = None, **options: Any
) -> NGramLM:
    """Estimate a model from counts.

    Args:
        counts: Counts of the training text, of 1 to 6 orders.
        smoothing, options: Options of `NGramSpec`.
        held_out: Text for the methods that tune parameters.

    Raises:
        ModelError: An option is unknown or out of its range; kind "input".
    """
    spec = make_spec(order=counts.order, smoothing=smoothing, **options)
    tables = fit_tables(counts, spec, spec.prune, spec.entropy, held_out).tables
    return NGramLM(tables, smoothing not in SCORES_ONLY)


def fit_ngrams(
    spec: NGramSpec, vocabulary: Vocabulary, train: TokenStream, validation: TokenStream, context: FitContext
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
    from models.tokens.special import CONTEXT_IDS

    train.require(vocabulary)
    validation.require(vocabulary)
    began = time.perf_counter()
    counts = count_ngrams(
        train, spec.order, vocabulary.size, CONTEXT_IDS, engine=context.engine, min_documents=spec.min_documents
    )
    tables, _, made = fit_tables(counts, spec, spec.prune, spec.entropy, validation, engine=context.engine)
    model = NGramLM(tables, spec.smoothing not in SCORES_ONLY)
    seconds = time.perf_counter() - began
    tokens = int(counts.orders[0].raw_M.sum())
    summary = {"seconds": seconds, "tokens": float(tokens), "tokens_per_second": tokens / seconds}
    summary["parameters"] = float(sum(len(a) for a in (*tables.logp, *tables.backoff)))
    summary["bytes"] = float(sum(a.nbytes for a in tables.arrays().values()))
    summary |= figures(counts, made, tables) | _validate(model, counts, validation)
    shown = ("validation/nats", "validation/perplexity", "tokens_per_second")
    journal(context, tokens, {name: summary[name] for name in shown if name in summary})
    return FitResult(model, summary)


def _validate(model: NGramLM, counts: NGramCounts, validation: TokenStream) -> dict[str, float]:
    if np.isin(validation.ids, counts.given).all():
        return {}
    shares = {f"unseen_share/{order}": share for order, share in unseen_share(counts, validation).items()}
    if not model.normalised:
        return shares
    measured = measure(model, validation.ids, counts.given)
    return shares | {f"validation/{name}": value for name, value in measured.items()}
