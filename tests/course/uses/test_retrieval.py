"""Query likelihood: the order of the definition, BM25 with the numbers of its library, and made queries."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from reviewlm.course.uses.retrieval import (
    Index,
    Ranking,
    bm25,
    compare_rankings,
    dirichlet,
    jelinek_mercer,
    known_items,
    mix_scores,
    quality,
)
from tests.serving.engine.small_models import TEXTS

REVIEWS = [text.replace("\n", " ") for text in TEXTS]
QUERY = "the soup was cold and the staff"


def log_probability(
    index: Index,
    query: str,
    smoothed,
) -> list[float]:
    """Σ log p(w | d) of the query's words, one after another."""
    names = index._words.vocabulary_
    return [
        sum(
            log(
                smoothed(
                    float(index.counts_DW[row, names[word]]),
                    index.length_D[row],
                    index.share_W[names[word]],
                )
            )
            for word in query.split()
            if word in names
        )
        for row in range(len(index.length_D))
    ]


@pytest.mark.parametrize("mu", [0.5, 30.0, 2_000.0])
def test_dirichlet_scores_are_log_probabilities_but_for_a_number_of_the_query(mu: float) -> None:
    index = Index(REVIEWS)
    expected = log_probability(
        index, QUERY, lambda count, length, share: (count + mu * share) / (length + mu)
    )
    found = dirichlet(index, mu).scores(index.queries([QUERY]))[0]
    assert np.ptp(found - expected) < 1e-9


@pytest.mark.parametrize("lam", [0.1, 0.9])
def test_jelinek_mercer_scores_are_log_probabilities_but_for_a_number_of_the_query(
    lam: float,
) -> None:
    index = Index(REVIEWS)
    expected = log_probability(
        index, QUERY, lambda count, length, share: (1 - lam) * count / length + lam * share
    )
    found = jelinek_mercer(index, lam).scores(index.queries([QUERY]))[0]
    assert np.ptp(found - expected) < 1e-9


def test_bm25_has_the_scores_of_bm25s() -> None:
    peer = pytest.importorskip("bm25s")
    index = Index(REVIEWS)
    words = [[word for word in index._words.build_analyzer()(text)] for text in REVIEWS]
    made = peer.BM25(
        method="lucene",
        k1=1.2,
        b=0.75,
    )
    made.index(words, show_progress=False)
    query = index._words.build_analyzer()(QUERY)
    assert bm25(index).scores(index.queries([QUERY]))[0] == pytest.approx(
        made.get_scores(query), rel=1e-4
    )


@given(st.integers(0, 99))
def test_quality_is_that_of_the_places(seed: int) -> None:
    draws = np.random.default_rng(seed)
    scores_QD, sought_Q = draws.integers(0, 4, (9, 30)).astype(float), draws.integers(0, 30, 9)
    queries = sparse.csr_matrix(np.arange(9)[:, None])
    mrr, recall = quality(
        lambda rows: scores_QD[np.asarray(rows.todense()).ravel()], queries, sought_Q
    )
    places = []
    for scores_D, sought in zip(scores_QD, sought_Q, strict=True):
        others = np.delete(scores_D, sought)
        places.append(
            1 + (others > scores_D[sought]).sum() + (others == scores_D[sought]).sum() / 2
        )
    assert mrr == pytest.approx(np.mean(1 / np.array(places)))
    assert recall == pytest.approx(np.mean(np.array(places) <= 10))


def test_made_queries_have_words_of_the_review_that_they_look_for() -> None:
    index = Index(REVIEWS)
    queries, sought_Q = known_items(index, 200, 1)
    own = [
        np.isin(queries[row].indices, index.counts_DW[sought].indices).mean()
        for row, sought in enumerate(sought_Q)
    ]
    assert 0.75 < np.mean(own) <= 1


def test_a_mix_of_weight_0_ranks_like_the_first() -> None:
    index = Index(REVIEWS)
    queries, _ = known_items(index, 5, 1)
    one, other = dirichlet(index, 10.0), Ranking(index.counts_DW, np.zeros(len(REVIEWS)))
    found = mix_scores(one, other, 0.0)(queries).argmax(1)
    assert (found == one.scores(queries).argmax(1)).all()


def test_all_ways_of_ranking_are_compared() -> None:
    rows = compare_rankings(Index(REVIEWS), 20, 1)
    assert len(rows) == 5
    assert all(0 < float(row["MRR"]) <= 1 and 0 <= float(row["recall@10"]) <= 1 for row in rows)
