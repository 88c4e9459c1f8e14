"""What holds of every smoothing method: distributions in any context, fallbacks that are named, options that count."""

from __future__ import annotations

import logging
import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import SCORES_ONLY, NGramSpec, Smoothing
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import packed_tables
from reviewlm.training.ngram.measure import score_chunks
from reviewlm.training.ngram.smoothing import katz
from reviewlm.training.ngram.smoothing.add_k import GRID, estimate_add_k
from reviewlm.training.ngram.smoothing.held_out import held_out_counts
from reviewlm.training.ngram.smoothing.jelinek_mercer import tune
from reviewlm.training.ngram.smoothing.methods import (
    estimate,
    figures,
    numbers_of_ngrams,
)
from tests.estimated_ngrams import estimate_ngrams
from tests.examples import examples
from tests.training.ngram.smoothing.odd_corpora import V

PROBABILITIES = sorted(set(get_args(Smoothing)) - SCORES_ONLY)
WORD = st.one_of(st.sampled_from([0, 9, 9, 10, 11]), st.integers(9, V - 1))
DOCUMENT = st.builds(
    lambda stars, words: [1, stars, *words, 2], st.integers(3, 8), st.lists(WORD, max_size=12)
)
CORPUS = st.lists(DOCUMENT, max_size=30)
CONTEXT = st.lists(st.integers(0, V - 1), min_size=6, max_size=6)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR, logger="reviewlm.models.ngram")


def fitted(
    documents,
    order,
    method,
    stream_of,
    held_out=(),
    **options,
) -> NGramLM:
    counts = count_ngrams(stream_of(documents), order, V, CONTEXT_IDS)
    return estimate_ngrams(counts, method, held_out=stream_of(held_out), **options)


@pytest.mark.parametrize("method", PROBABILITIES)
@examples(40)
@given(
    documents=CORPUS,
    order=st.integers(1, 6),
    contexts=st.lists(CONTEXT, min_size=1, max_size=12),
)
def test_every_context_s_distribution_sums_to_one(
    documents,
    order,
    contexts,
    method,
    stream_of,
):
    model = fitted(
        documents,
        order,
        method,
        stream_of,
        held_out=documents[:3],
    )
    seen = [([1, 3, *document[2:-1]] * 6)[-6:] for document in documents]
    rows = np.array(contexts + seen)
    p_BV = np.exp(model.distribution(model.read(rows, model.start(len(rows)))))
    assert np.abs(p_BV.sum(axis=1) - 1).max() < 1e-9
    assert (p_BV[:, sorted(CONTEXT_IDS)] == 0).all()
    if method not in ("maximum_likelihood", "modified_kneser_ney"):  # lmplz's discounts may be 0
        assert (np.delete(p_BV, sorted(CONTEXT_IDS), axis=1) > 0).all()


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("add_k", "laplace"),
        ("jelinek_mercer", "equal_weights"),
        ("absolute_discounting", "fixed_discount"),
        ("katz", "absolute_discount"),
        ("modified_kneser_ney", "fixed_discounts"),
        ("witten_bell", None),
    ],
)
def test_the_fallback_taken_is_named_per_order(
    method,
    name,
    stream_of,
    caplog,
):
    caplog.set_level(logging.WARNING, logger="reviewlm.models.ngram")
    counts = count_ngrams(stream_of([[1, 3, 9, 10, 2]]), 3, V, CONTEXT_IDS)
    made = estimate(counts, NGramSpec(order=3, smoothing=method), stream_of([]))
    found = figures(numbers_of_ngrams(counts, made), made)
    named = {
        key.rsplit("/", 1)[1]
        for key in found
        if key.startswith("fallback/") and key.count("/") == 2
    }
    assert named == ({name} if name else set())
    said = [record.getMessage() for record in caplog.records]
    if name == "fixed_discounts":  # one warning names all orders
        assert ["discounts of orders 1, 2, 3: (" in message for message in said] == [True]
    else:
        assert len(said) == (3 if name else 0)
    assert (
        found["fallback_orders"]
        == sum(found[f"fallback/{order}"] for order in (1, 2, 3))
        == (3 if name else 0)
    )
    assert [found[f"ngrams/{order}"] for order in (1, 2, 3)] == [3, 3, 2]
    assert [found[f"counts_of_counts/2/{j}"] for j in (1, 2)] == [3, 0]


# Parameters chosen on held-out text


def perplexity(model: NGramLM, stream) -> float:
    nats = np.concatenate(list(score_chunks(model, stream.ids)))
    return math.exp(nats.sum() / (~np.isin(stream.ids, sorted(CONTEXT_IDS))).sum())


def objective(
    weights,
    orders,
    predictable,
) -> float:
    """Return log p of the held-out tokens, and of one imagined stop and one imagined passage per order."""
    p_T = np.full(len(orders[0].count_T), 1 / predictable)
    for weight, one in zip(weights, orders, strict=True):
        p_T = np.where(one.seen_T, weight * one.maximum_likelihood_T + (1 - weight) * p_T, p_T)
    return np.log(p_T).sum() + sum(math.log(w) + math.log(1 - w) for w in weights)


def test_em_finds_the_weights_that_no_other_weights_beat(stream_of, reviews_of):
    counts = count_ngrams(stream_of(reviews_of(200, V, 1)), 3, V, CONTEXT_IDS)
    orders = held_out_counts(counts, stream_of(reviews_of(300, V, 2)))
    weights = tune(orders, counts.predictable)
    best = objective(weights, orders, counts.predictable)
    for order, weight in enumerate(weights):
        for other in (weight * 0.98, weight + 0.02 * (1 - weight)):
            changed = [*weights[:order], other, *weights[order + 1 :]]
            assert objective(changed, orders, counts.predictable) < best


@pytest.mark.parametrize("order", [1, 3])
def test_the_k_chosen_is_the_best_of_the_grid(
    order,
    stream_of,
    reviews_of,
):
    counts = count_ngrams(stream_of(reviews_of(200, V, 1)), order, V, CONTEXT_IDS)
    held_out = stream_of(reviews_of(60, V, 2))
    by_k = {
        k: perplexity(NGramLM(packed_tables(counts, estimate_add_k(counts, k))), held_out)
        for k in GRID
    }
    chosen = estimate_add_k(counts, held_out=held_out).facts["k"]
    assert chosen == min(by_k, key=by_k.get)
    assert perplexity(estimate_ngrams(counts, "add_k", held_out=held_out), held_out) == by_k[chosen]


# Katz: Good–Turing discounts


def test_good_turing_discounts_keep_the_mass_that_it_gives_to_the_unseen():
    n = [1000, 300, 140, 80, 55, 40]
    ratios = katz.good_turing(n)
    # Katz (1987): what is taken of all counts up to k is n_1 occurrences, as Good and Turing say
    assert sum((1 - d) * r * n[r - 1] for r, d in enumerate(ratios, start=1)) == pytest.approx(n[0])
    assert all(0 < d < 1 for d in ratios)
    # every discount is in proportion to Good and Turing's: (1 − d_r) = μ (1 − r* / r)
    good = [1 - (r + 1) * n[r] / n[r - 1] / r for r in range(1, 6)]
    assert np.ptp([(1 - d) / g for d, g in zip(ratios, good, strict=True)]) < 1e-12


def test_katz_hands_what_it_took_to_unseen_words_in_the_shorter_contexts_proportions(stream_of):
    """p(w | h) = α(h) p(w) of every w not seen after h, with α = (1 − Σ seen p(w | h)) / (1 − Σ seen p(w))."""
    draw = np.random.default_rng(1)
    words = [np.minimum(8 + draw.zipf(1.5, 9), 17).tolist() for _ in range(60)]
    documents = stream_of([[1, 3, *some, 2] for some in words])
    counts_of = [count_ngrams(documents, n, 18, CONTEXT_IDS) for n in (1, 2)]
    one, two = (
        NGramLM(packed_tables(counts, katz.estimate(counts, cut=2))) for counts in counts_of
    )
    below_V = np.exp(one.distribution(one.start(1)))[0]
    possible = np.array([token not in CONTEXT_IDS for token in range(18)])
    told = 0
    for context in range(9, 17):
        p_V = np.exp(two.distribution(two.read(np.array([[context]]), two.start(1))))[0]
        seen = np.zeros(18, bool)
        seen[
            [
                after
                for row in words
                for before, after in zip(row, [*row[1:], 2], strict=True)
                if before == context
            ]
        ] = True
        unseen = possible & ~seen
        if unseen.any() and seen.any():
            alpha = (1 - p_V[seen].sum()) / (1 - below_V[seen].sum())
            assert p_V[unseen] == pytest.approx(alpha * below_V[unseen], rel=1e-9)
            told += 1
    assert told > 3
