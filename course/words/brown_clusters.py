"""Cluster words by their neighbours: Brown et al. (1992, "Class-based n-gram models of natural language").

Words that stand before and after the same words come into one cluster. With n(c, d) the number of adjacent words of
which the first is in cluster c and the second in d, and N the number of all, the mutual information of neighbours is

    I = Σ_{c,d} q(c, d)        q(c, d) = n(c, d) / N · ln( N n(c, d) / (n(c ·) n(· d)) )                         (1)

The search is greedy: merge the two clusters whose merge loses least of it, again and again. Of V words it would compare
V² pairs in each of V steps, so only a window of C + 1 clusters takes part: the most frequent words first, and after
each merge the next word (Liang 2005, section 4.2). With c and d merged, only the terms with c or d change:

    L(c, d) = Σ terms of c or d  −  Σ_e ( q(c ∪ d, e) + q(e, c ∪ d) )  −  q(c ∪ d, c ∪ d),    e other than c, d   (2)

The last C clusters are merged into a tree. The path to a word from the root, 0 for the branch with the more frequent
word, is its bit string; words with a common prefix are similar (Miller et al. 2004 use prefixes as features).

    python -m reviewlm.course.words.brown_clusters --text reviews.txt --clusters 30      # without --text: reviews of the grammar

Shapes: S clusters of the window.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from reviewlm.course.inputs import program, review_table


class Merge(NamedTuple):
    """Two clusters, each named by its most frequent word (numbered by frequency), and the nats that I loses."""

    first: int
    second: int
    loss: float


def information(
    joint: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    total: float,
) -> np.ndarray:
    """Return q of equation (1), 0 where there are no such neighbours; the arguments are n(c, d), n(c ·), n(· d), N."""
    product = np.where(joint > 0, left * right, 1.0)
    return np.where(
        joint > 0, joint / total * np.log(np.where(joint > 0, joint, 1.0) * total / product), 0.0
    )


def losses(
    joint_SS: np.ndarray,
    left_S: np.ndarray,
    right_S: np.ndarray,
    total: float,
) -> np.ndarray:
    """Return L(c, d) of equation (2) for every pair of clusters (S, S)."""
    q_SS = information(joint_SS, left_S[:, None], right_S[None], total)
    terms_S = q_SS.sum(0) + q_SS.sum(1) - q_SS.diagonal()
    terms_SS = terms_S[:, None] + terms_S[None] - q_SS - q_SS.T  # those of c or d, each once
    left_SS = left_S[:, None] + left_S[None]
    right_SS = right_S[:, None] + right_S[None]
    # q(c ∪ d, e)
    after_SSS = information(joint_SS[:, None] + joint_SS[None], left_SS[..., None], right_S, total)
    before_SSS = information(
        joint_SS.T[:, None] + joint_SS.T[None], left_S, right_SS[..., None], total
    )  # q(e, c ∪ d)
    both_SSS = after_SSS + before_SSS
    others_SS = both_SSS.sum(2) - np.einsum("cdc->cd", both_SSS) - np.einsum("cdd->cd", both_SSS)
    diagonal_S = joint_SS.diagonal()
    within_SS = diagonal_S[:, None] + diagonal_S[None] + joint_SS + joint_SS.T
    return terms_SS - others_SS - information(within_SS, left_SS, right_SS, total)


def merge_words(
    texts: Sequence[Sequence[int]],
    words: int,
    clusters: int,
) -> list[Merge]:
    """Merge all words into one cluster; of equal losses (to 1e-12) the pair with the most frequent words goes first.

    Args:
        texts: Words as numbers by falling frequency, from 0.
        words: V; each occurs.
        clusters: C.
    """
    joint_VV = np.zeros((words, words))
    for pair, count in Counter(pair for text in texts for pair in pairwise(text)).items():
        joint_VV[pair] = count

    left_V = joint_VV.sum(1)
    right_V = joint_VV.sum(0)
    total = joint_VV.sum()
    # Clusters by their most frequent word, whose row and column hold their counts.
    window: list[int] = []
    merges: list[Merge] = []
    coming = 0
    while len(merges) < words - 1:
        while coming < words and len(window) < clusters + 1:
            window = [*window, coming]
            coming += 1
        loss_SS = losses(joint_VV[np.ix_(window, window)], left_V[window], right_V[window], total)
        loss_SS[np.tril_indices(len(window))] = np.inf
        c, d = np.argwhere(loss_SS <= loss_SS.min() + 1e-12)[0]
        first = window[c]
        second = window[d]
        merges.append(Merge(first, second, float(loss_SS[c, d])))
        for counts in (joint_VV, joint_VV.T, left_V, right_V):
            counts[first] += counts[second]
        window.remove(second)

    return merges


def bit_strings(merges: Sequence[Merge], clusters: int) -> list[str]:
    """Return the bit string of each word; the last C − 1 merges are the tree above the clusters."""
    bits = {0: ""}
    cluster = list(range(len(merges) + 1))
    for first, second, _ in reversed(merges[-(clusters - 1) :] if clusters > 1 else []):
        bits[first], bits[second] = bits[first] + "0", bits[first] + "1"
    for first, second, _ in merges[: len(merges) - clusters + 1]:
        cluster = [first if own == second else own for own in cluster]
    return [bits[own] for own in cluster]


def main() -> None:
    """Cluster the words of some reviews and show the clusters with their most frequent words."""
    options = program(__doc__, clusters=30, words=500).parse_args()
    reviews = review_table(options.text, options.reviews)["text"]
    texts = [re.findall(r"\w+(?:'\w+)?|[^\w\s]", review.lower()) for review in reviews]
    counts = Counter(word for text in texts for word in text)
    frequent = [word for word, _ in counts.most_common(options.words)]
    number = {word: rank for rank, word in enumerate(frequent)}
    runs = []
    for text in texts:
        for there, run in groupby(text, number.__contains__):
            if there:
                runs.append([number[w] for w in run])

    clusters = min(options.clusters, len(frequent))
    members: dict[str, list[str]] = {}
    for word, bits in zip(
        frequent, bit_strings(merge_words(runs, len(frequent), clusters), clusters), strict=True
    ):
        members.setdefault(bits, []).append(word)

    for bits in sorted(members):
        print(f"{bits:<14} {' '.join(members[bits][:10])}{' …' if len(members[bits]) > 10 else ''}")


if __name__ == "__main__":
    main()
