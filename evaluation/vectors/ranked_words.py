"""Rank the true word of each window of test reviews above a noise word, for any sets of word vectors alike.

`models.vectors.held_out` measures one training on the words that it knows. To compare any two sets of vectors, windows
and noise words here are words of the text, and the same for both:

- A window is a word of a test review and up to `WIDTH` words on each side of it.
- Its noise word is another word, drawn in proportion to its count in the test reviews, as true words are: knowing only
  which words are frequent gains next to nothing.
- A set of vectors gets a point if the mean vector of the words around gives the true word a higher score than the noise
  word, half a point for equal scores, and half a point if it lacks the true word, the noise word, or all words around.

Guessing gets half of the points. Shapes: D reviews, T words of all reviews, W different words, N windows, C words
around, F numbers in a vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.tokens.vocabulary import Vocabulary
from models.tokens.word_pieces import cut, folded
from models.vectors.held_out import SEED
from models.vectors.noise import noise_share
from models.vectors.word_vectors import WordVectors

WIDTH = 5
MOST = 200_000
"""Most windows that are ranked, chosen at random."""
BLOCK = 8_192
"""Windows whose vectors are in memory at a time."""
Score = Callable[[slice], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class WordWindows:
    """N windows of test reviews; words by their number.

    Attributes:
        words: The W different words of the reviews.
        review_ids: Ids of the D reviews, sorted.
        review_N: Number of each window's review.
        centre_N: The true words.
        noise_N: The noise words, each another one than the true word.
        context_NC: The words around; -1 beyond the ends of the review.
    """

    words: tuple[str, ...]
    review_ids: pl.Series
    review_N: np.ndarray
    centre_N: np.ndarray
    noise_N: np.ndarray
    context_NC: np.ndarray


@dataclass(frozen=True)
class RankedReviews:
    """Points of a set of word vectors on each review that has a window.

    Attributes:
        review_ids: The reviews.
        windows_D: Windows of each.
        points_D: Sum of their points.
    """

    review_ids: pl.Series
    windows_D: np.ndarray
    points_D: np.ndarray

    def __len__(self) -> int:
        return len(self.review_ids)

    @property
    def ranked(self) -> float:
        """Share of the points over all windows."""
        return float(self.points_D.sum() / self.windows_D.sum()) if len(self) else float("nan")

    @property
    def digest(self) -> str:
        """SHA-256 of reviews, windows and points."""
        content = hashlib.sha256("\n".join(self.review_ids).encode())
        for column_D in (self.windows_D, self.points_D):
            content.update(column_D.astype("<f8").tobytes())
        return content.hexdigest()


def words_of(vocabulary: Vocabulary, texts: pl.Series) -> pl.Series:
    """Return the list of words of each text, as a vocabulary cuts and folds them; of parts of words the parts.

    Words that the vocabulary does not know are among them, because another set of vectors may know them.
    """
    if vocabulary.word_unit is not None:
        return cut(folded(texts, vocabulary.spec.lowercase))
    named = [vocabulary.token(token) for token in range(vocabulary.size)]
    return pl.Series([[named[token] for token in ids] for ids in vocabulary.encode_batch(texts.to_list())])


def windows_of_words(review_ids: pl.Series, words: pl.Series) -> WordWindows:
    """Return the windows of test reviews, the same for equal reviews in any order; at most `MOST`, drawn at random.

    Args:
        review_ids: Ids of the reviews, all different.
        words: The list of words of each review.
    """
    table = pl.DataFrame({"review_id": review_ids, "word": words}).sort("review_id")
    review_T = np.repeat(np.arange(len(table)), table["word"].list.len().to_numpy())
    listed = table["word"].explode().drop_nulls()
    different = listed.unique().sort()
    number = pl.DataFrame({"word": different, "number": np.arange(len(different))})
    word_T = listed.to_frame("word").join(number, on="word", how="left", maintain_order="left")["number"].to_numpy()
    rng, places_N = np.random.default_rng(SEED), np.arange(len(word_T))
    if len(places_N) > MOST:
        places_N = np.sort(rng.choice(len(places_N), MOST, replace=False))
    near_NC = places_N[:, None] + np.array([step for step in range(-WIDTH, WIDTH + 1) if step])
    inside_NC = (near_NC >= 0) & (near_NC < len(word_T))
    near_NC = np.where(inside_NC, near_NC, 0)
    inside_NC = inside_NC & (review_T[near_NC] == review_T[places_N][:, None]) if len(word_T) else inside_NC
    noise_N = _noise(np.bincount(word_T, minlength=1), len(places_N), rng)
    used_N = inside_NC.any(1) & (noise_N != word_T[places_N])
    context_NC = np.where(inside_NC, word_T[near_NC], -1) if len(word_T) else near_NC
    return WordWindows(
        tuple(different), table["review_id"], review_T[places_N][used_N], word_T[places_N][used_N], noise_N[used_N],
        context_NC[used_N],
    )  # fmt: skip


def _noise(counts_W: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(len(counts_W), number, p=noise_share(counts_W, 1.0)) if number else np.zeros(0, np.int64)


def rank(windows: WordWindows, vectors: WordVectors, by_output: bool) -> RankedReviews:
    """Return the points of a set of word vectors.

    Args:
        vectors: The vectors; a word that they lack has the vector of its lower-case form.
        by_output: Score words by their output vectors, u · h, as they were trained. Otherwise by the cosine of input
            vectors, which all sets have.
    """
    row_W = np.array([vectors.index.get(word, vectors.index.get(word.lower(), -1)) for word in windows.words], np.int64)
    inner_ND = vectors.matrix_ND if by_output else vectors.unit_ND
    outer_ND = vectors.output_ND if by_output else vectors.unit_ND
    assert outer_ND is not None, "asked for by the caller only where there are output vectors"

    def gaps(at: slice) -> tuple[np.ndarray, np.ndarray]:
        context_BC = windows.context_NC[at]
        rows_BC = np.where(context_BC >= 0, row_W[context_BC], -1)
        total_BF = np.zeros((len(rows_BC), inner_ND.shape[1]))
        for rows_B in rows_BC.T:
            total_BF += np.where(rows_B[:, None] >= 0, inner_ND[rows_B], 0)
        true_B, noise_B = row_W[windows.centre_N[at]], row_W[windows.noise_N[at]]
        known_B = (rows_BC >= 0).any(1) & (true_B >= 0) & (noise_B >= 0)
        # The sum ranks as the mean does.
        return np.einsum("bf,bf->b", total_BF, outer_ND[true_B].astype(float) - outer_ND[noise_B]), known_B

    return _pointed(windows, gaps)


def rank_by_counts(windows: WordWindows, counts: Mapping[str, int]) -> RankedReviews:
    """Return the points of always choosing the word with the larger count; a word without a count has 0."""
    counts_W = np.array([counts.get(word, counts.get(word.lower(), 0)) for word in windows.words])

    def gaps(at: slice) -> tuple[np.ndarray, np.ndarray]:
        gap_B = counts_W[windows.centre_N[at]] - counts_W[windows.noise_N[at]]
        return gap_B, np.ones(len(gap_B), bool)

    return _pointed(windows, gaps)


def _pointed(windows: WordWindows, gaps: Score) -> RankedReviews:
    """Return the points by the gap between the scores of true word and noise word, and whether both are known."""
    points_N = np.zeros(len(windows.centre_N))
    for first in range(0, len(points_N), BLOCK):
        at = slice(first, first + BLOCK)
        gap_B, known_B = gaps(at)
        points_N[at] = np.where(known_B, (gap_B > 0) + 0.5 * (gap_B == 0), 0.5)
    windows_D, points_D = (
        np.bincount(windows.review_N, weights, len(windows.review_ids)) for weights in (None, points_N)
    )
    used_D = windows_D > 0
    return RankedReviews(windows.review_ids.filter(pl.Series(used_D)), windows_D[used_D], points_D[used_D])
