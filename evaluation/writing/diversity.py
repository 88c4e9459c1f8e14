"""Measure the diversity of a set of texts, in words and without a model, to compare samples with real reviews.

    distinct-n   different n-grams / n-grams of all texts (Li et al. 2016, "A diversity-promoting objective function")
    repetition   mean over texts of 1 − different 4-grams / 4-grams of the text (seq-rep-4 of Welleck et al. 2020,
                 "Neural text generation with unlikelihood training", section 6.1)
    self-overlap share of the 4-grams of a text that also occur in another text of the set
    self-BLEU    mean over texts of the BLEU of a text against all others (Zhu et al. 2018, "Texygen", section 3.2)

Distinct-n, self-overlap and self-BLEU depend on the amount of text: compare sets of equal size only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.writing.word_stream import WordStream, ngrams

REPEATED = 4
BLEU_ORDERS = 4
EPSILON = 0.1
"""Count used if no n-gram of a text is in another one: smoothing method 1 of Chen and Cherry 2014, as in Texygen."""


def distinct(texts: WordStream, n: int) -> float | None:
    """Return different n-grams / n-grams of all texts; None if there is no n-gram."""
    hashes, _ = ngrams(texts, n)
    return len(np.unique(hashes)) / len(hashes) if len(hashes) else None


def repetition(texts: WordStream) -> float | None:
    """Return the mean share of repeated 4-grams within a text; None if no text has four words."""
    hashes, document = ngrams(texts, REPEATED)
    if not len(hashes):
        return None
    _, entry = np.unique(hashes, return_inverse=True)
    _, different, _ = _pairs(entry, document, len(texts))
    total_D, different_D = (np.bincount(each, minlength=len(texts)) for each in (document, different))
    some = total_D > 0
    return float((1 - different_D[some] / total_D[some]).mean())


def self_overlap(texts: WordStream) -> float | None:
    """Return the share of all 4-grams that also occur in another text; None if no text has four words."""
    hashes, document = ngrams(texts, REPEATED)
    if not len(hashes):
        return None
    _, entry = np.unique(hashes, return_inverse=True)
    lowest, highest = np.full(entry.max() + 1, len(texts)), np.full(entry.max() + 1, -1)
    np.minimum.at(lowest, entry, document)
    np.maximum.at(highest, entry, document)
    return float((lowest < highest)[entry].mean())


def self_bleu(texts: WordStream) -> float | None:
    """Return the mean BLEU-4 of each text against all others; None for fewer than two texts.

    The clipped counts of one text need the largest count of each n-gram in any other text. Only the two largest counts
    over all texts are kept, so the time grows with the number of words, not with the square of the number of texts.
    """
    if len(texts) < 2:
        return None
    log_precision_D = np.zeros(len(texts))
    nothing_D = np.zeros(len(texts), bool)
    for n in range(1, BLEU_ORDERS + 1):
        matched_D, total_D = _matches(texts, n)
        nothing_D |= (matched_D == 0) if n == 1 else False
        log_precision_D += np.log(np.where(matched_D > 0, matched_D, EPSILON) / np.maximum(total_D, 1))
    lengths_D = texts.lengths_D
    penalty_D = np.minimum(0.0, 1 - _closest_other(lengths_D) / np.maximum(lengths_D, 1))
    bleu_D = np.exp(penalty_D + log_precision_D / BLEU_ORDERS)
    return float(np.where(nothing_D, 0.0, bleu_D).mean())


def _matches(texts: WordStream, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each text the clipped number of its n-grams that another text has, and of all its n-grams."""
    hashes, document = ngrams(texts, n)
    if not len(hashes):
        return np.zeros(len(texts)), np.zeros(len(texts))
    _, entry = np.unique(hashes, return_inverse=True)
    entry_P, document_P, count_P = _pairs(entry, document, len(texts))
    order = np.lexsort((-count_P, entry_P))
    entry_P, document_P, count_P = entry_P[order], document_P[order], count_P[order]
    first = np.flatnonzero(np.diff(entry_P, prepend=-1))
    second = np.minimum(first + 1, len(entry_P) - 1)
    largest = count_P[first][entry_P]
    runner_up = np.where(entry_P[second] == entry_P[first], count_P[second], 0)
    runner_up[second == first] = 0
    other_P = np.where(document_P == document_P[first][entry_P], runner_up[entry_P], largest)
    matched_D = np.bincount(document_P, np.minimum(count_P, other_P), minlength=len(texts))
    return matched_D, np.bincount(document, minlength=len(texts)).astype(float)


def _pairs(entry: np.ndarray, document: np.ndarray, texts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the different pairs of an n-gram and a text, in order, and how often each occurs.

    A pair is one number, which numpy sorts 50 times as fast as a column of two.
    """
    pair_P, count_P = np.unique(entry * texts + document, return_counts=True)
    return pair_P // texts, pair_P % texts, count_P


def _closest_other(lengths_D: np.ndarray) -> np.ndarray:
    """Return for each text the closest length among the other texts; of two equally close ones, the shorter."""
    order = np.argsort(lengths_D, kind="stable")
    ranked = lengths_D[order].astype(float)
    below, above = np.r_[-np.inf, ranked[:-1]], np.r_[ranked[1:], np.inf]
    closest = np.empty(len(ranked))
    closest[order] = np.where(ranked - below <= above - ranked, below, above)
    return closest


def length_distance(ours: WordStream, theirs: WordStream, most: int) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of two sets' lengths in words and its p-value.

    Lengths are cut off at *most* on both sides, because the samples are: all longer texts count as equally long.
    """
    from scipy.stats import ks_2samp  # here, because the import takes half a second

    cut = [np.minimum(texts.lengths_D, most) for texts in (ours, theirs)]
    found: Any = ks_2samp(*cut)
    return float(found.statistic), float(found.pvalue)
