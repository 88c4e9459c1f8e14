"""Find reviews by the probability that they would give the query: query likelihood, beside BM25 and tf-idf.

Each review d is a small language model of its own words, smoothed with the model C of all reviews (Ponte and Croft
1998; Zhai and Lafferty 2004, "A study of smoothing methods for language models applied to information retrieval"):

    Dirichlet        p(w | d) = (c(w, d) + μ p(w | C)) / (|d| + μ)
    Jelinek–Mercer   p(w | d) = (1 − λ) c(w, d) / |d| + λ p(w | C)          log p(q | d) = Σ over w in q of log p(w | d)

Both sums are, but for a number that depends on the query alone, sums over the words that query and review share, so a
sparse product ranks all reviews. BM25 (Robertson and Walker 1994) and tf-idf are the peers.

The quality is measured by known-item search: somebody remembers some words of one review, and a part of what is
remembered is wrong (Azzopardi, de Rijke and Balog 2007). Words of a query are drawn from a review, a fifth of them from
all reviews. The mean reciprocal rank (MRR) is that of 1 / place of the review, recall@10 the share of queries that have
it among the first ten. The parameters of all ways are chosen on other queries than those that are reported.

    python -m reviewlm.course.uses.retrieval --text reviews.txt

`reviewlm models nearest` finds reviews in this way (`evaluation/text_vectors.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from reviewlm.course.inputs import program, review_table, show
from reviewlm.evaluation.text_vectors import WORD

WORDS = 5
NOISE = 0.2
"""Words of a made query, and the share of them that comes from all reviews."""
MU = (10.0, 30.0, 100.0, 300.0, 1_000.0)
LAMBDA = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
K1 = (0.6, 1.2, 2.4, 4.8)
B = (0.25, 0.5, 0.75, 1.0)
MIXES = (0.0, 0.25, 0.5, 0.75)
"""Weights of BM25 in a mix with the query likelihood."""
QUERIES_AT_A_TIME = 64
"""Queries that are ranked at once."""


class Index:
    """Counts of the words of reviews.

    Args:
        texts: D reviews.
    """

    def __init__(self, texts: list[str]) -> None:
        self._words = CountVectorizer(token_pattern=WORD, dtype=np.float32)
        self.counts_DW = self._words.fit_transform(texts).tocsr()
        self.length_D = np.maximum(1.0, np.asarray(self.counts_DW.sum(1), np.float64).ravel())
        total_W = np.asarray(self.counts_DW.sum(0), np.float64).ravel()
        self.share_W = total_W / total_W.sum()

    def queries(self, texts: list[str]) -> sparse.csr_matrix:
        """Return the counts of the words of queries (Q, W); words of no review count nothing."""
        return self._words.transform(texts).tocsr()

    def reweigh(
        self, weights: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    ) -> sparse.csr_matrix:
        """Return the counts with other values (D, W): of each, its count, review and word are given."""
        table = self.counts_DW.tocoo()
        values = weights(table.data.astype(np.float64), table.row, table.col)
        return sparse.csr_matrix((values, (table.row, table.col)), table.shape)


class Ranking(NamedTuple):
    """A way to rank: the score of a review is the sum of the weights of the query's words, and a term of its length.

    Attributes:
        weights_DW: Weight of each word of each review.
        per_word_D: What each word of the query adds, whether the review has it or not.
    """

    weights_DW: sparse.csr_matrix
    per_word_D: np.ndarray

    def scores(self, queries_QW: sparse.csr_matrix) -> np.ndarray:
        """Return the scores of all reviews (Q, D)."""
        words_Q1 = np.asarray(queries_QW.sum(1))
        return np.asarray((queries_QW @ self.weights_DW.T).todense()) + words_Q1 * self.per_word_D


def dirichlet(index: Index, mu: float) -> Ranking:
    """Return the query likelihood with Dirichlet smoothing, without Σ log p(w | C)."""
    weights = index.reweigh(lambda count, row, word: np.log1p(count / (mu * index.share_W[word])))
    return Ranking(weights, np.log(mu / (index.length_D + mu)))


def jelinek_mercer(index: Index, lam: float) -> Ranking:
    """Return the query likelihood with Jelinek–Mercer smoothing, without Σ log λ p(w | C)."""
    weights = index.reweigh(
        lambda count, row, word: np.log1p(
            (1 - lam) * count / (lam * index.length_D[row] * index.share_W[word])
        )
    )
    return Ranking(weights, np.zeros(len(index.length_D)))


def bm25(
    index: Index,
    k1: float = 1.2,
    b: float = 0.75,
) -> Ranking:
    """Return BM25 as Lucene computes it."""
    reviews = len(index.length_D)
    with_W = np.diff(index.counts_DW.tocsc().indptr)
    idf_W = np.log1p((reviews - with_W + 0.5) / (with_W + 0.5))
    norm_D = k1 * (1 - b + b * index.length_D / index.length_D.mean())
    weights = index.reweigh(lambda count, row, word: idf_W[word] * count / (count + norm_D[row]))
    return Ranking(weights, np.zeros(reviews))


def tf_idf(index: Index) -> Ranking:
    """Return the cosine of tf-idf vectors with 1 + log counts, but for the length of the query's."""
    reviews = len(index.length_D)
    with_W = np.diff(index.counts_DW.tocsc().indptr)
    idf_W = np.log((1 + reviews) / (1 + with_W)) + 1
    weights = index.reweigh(lambda count, row, word: (1 + np.log(count)) * idf_W[word])
    length_D1 = np.maximum(np.sqrt(np.asarray(weights.multiply(weights).sum(1))), 1e-12)
    return Ranking(
        (weights.multiply(1 / length_D1) @ sparse.diags(idf_W)).tocsr(), np.zeros(reviews)
    )


def known_items(
    index: Index,
    count: int,
    seed: int,
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return made queries (Q, W), and the number of the review that each looks for (Q,)."""
    draws = np.random.default_rng(seed)
    long_D = np.flatnonzero(np.diff(index.counts_DW.indptr) >= WORDS)
    sought_Q = draws.choice(long_D, count)
    rows = []
    for sought in sought_Q:
        review = index.counts_DW[sought]
        words = draws.choice(
            review.indices, WORDS, replace=False, p=review.data / review.data.sum()
        )
        noise = draws.choice(len(index.share_W), WORDS, p=index.share_W)
        rows.append(np.where(draws.random(WORDS) < NOISE, noise, words))

    places = (np.repeat(np.arange(count), WORDS), np.concatenate(rows))
    return sparse.csr_matrix(
        (np.ones(count * WORDS), places), (count, len(index.share_W))
    ), sought_Q


def quality(
    score: Callable[[sparse.csr_matrix], np.ndarray],
    queries: sparse.csr_matrix,
    sought_Q: np.ndarray,
) -> tuple[float, float]:
    """Return MRR and recall@10. Reviews with the score of the one that is sought count as half before it."""
    places = []
    for begin in range(0, queries.shape[0], QUERIES_AT_A_TIME):
        scores_QD = score(queries[begin : begin + QUERIES_AT_A_TIME])
        own_Q1 = np.take_along_axis(scores_QD, sought_Q[begin : begin + QUERIES_AT_A_TIME, None], 1)
        before_Q = (scores_QD > own_Q1).sum(1) + ((scores_QD == own_Q1).sum(1) - 1) / 2
        places.append(1 + before_Q)
    place_Q = np.concatenate(places)
    return float((1 / place_Q).mean()), float((place_Q <= 10).mean())


def mix_scores(
    one: Ranking,
    other: Ranking,
    weight: float,
) -> Callable[[sparse.csr_matrix], np.ndarray]:
    """Return scores of two rankings, each in standard deviations of a query's scores, in a weighted sum."""

    def score(queries: sparse.csr_matrix) -> np.ndarray:
        parts = [each.scores(queries) for each in (one, other)]
        first, second = (
            (part - part.mean(1, keepdims=True)) / (part.std(1, keepdims=True) + 1e-12)
            for part in parts
        )
        return (1 - weight) * first + weight * second

    return score


def compare_rankings(
    index: Index,
    count: int,
    seed: int,
) -> list[dict[str, str | float]]:
    """Return a row for each way to rank, on *count* queries; its parameters are chosen on others."""
    chosen_on = known_items(index, count, seed)
    reported = known_items(index, count, seed + 1)

    def best(ways: Mapping[str, Ranking]) -> str:
        return max(ways, key=lambda name: quality(ways[name].scores, *chosen_on)[0])

    likely = {f"Dirichlet, μ {mu:g}": dirichlet(index, mu) for mu in MU}
    mixtures = {f"Jelinek–Mercer, λ {lam:g}": jelinek_mercer(index, lam) for lam in LAMBDA}
    peers = {f"BM25, k1 {k1:g}, b {b:g}": bm25(index, k1, b) for k1 in K1 for b in B}
    ways = {name: group[name] for group in (likely, mixtures, peers) for name in [best(group)]}
    first = ways[best({name: way for name, way in ways.items() if name not in peers})]
    peer = ways[best(peers)]
    weight = max(MIXES, key=lambda each: quality(mix_scores(first, peer, each), *chosen_on)[0])
    scores = {name: way.scores for name, way in {**ways, "tf-idf": tf_idf(index)}.items()} | {
        f"mix with {weight:g} of BM25": mix_scores(first, peer, weight)
    }
    return [
        {
            "ranking": name,
            "MRR": mrr,
            "recall@10": recall,
        }
        for name, score in scores.items()
        for mrr, recall in [quality(score, *reported)]
    ]


def main() -> None:
    """Compare the rankings on made queries."""
    options = program(__doc__, queries=500).parse_args()
    texts = review_table(options.text, options.reviews, options.seed)["text"].to_list()
    index = Index(texts)
    print(
        f"{len(texts):,} reviews, {options.queries:,} queries of {WORDS} words, of which {NOISE:.0%} are wrong"
    )
    show(compare_rankings(index, options.queries, options.seed))


if __name__ == "__main__":
    main()
